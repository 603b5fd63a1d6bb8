//! The derive macros of `annals-es`, which re-exports them.
//!
//! Owns the entry points. Must never panic on any input: each fault is a compile error at its place.

mod attributes;
mod expand;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Implements `annals_es::Event` for an enum of events, or for a struct that is one event.
///
/// An enum also needs `serde::Serialize` and `serde::Deserialize`, in serde's standard (externally tagged) form,
/// for its variants that are neither nested nor unknown; a struct needs both.
///
/// | attribute | of | meaning |
/// |---|---|---|
/// | `#[event(name = "MoneyDeposited")]` | variant, struct | the name under which the event is stored; default: the identifier |
/// | `#[event(version = 2)]` | variant, struct | the version of the event's schema; default: 1 |
/// | `#[tag("account")]` | field | the tag `account:` followed by the field's `Display` text; of an `Option` or `Vec`, one per element |
/// | `#[tag]` | field | the same with the field's name |
/// | `#[event(nested)]` | variant with one unnamed field | the events of the field's type, which implements `Event` |
/// | `#[event(unknown)]` | variant with one unnamed field, `RawEvent` | events of types that are not known, kept as they are |
/// | `#[event(codec = Postcard)]` | enum, struct | the codec; default: `Json` |
/// | `#[event(upcasters = path)]` | enum, struct | the function that returns the upcasters |
#[proc_macro_derive(Event, attributes(event, tag))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    match syn::parse(input).and_then(|input| expand::event(&input)) {
        Ok(implementation) => implementation.into(),
        Err(error) => error.into_compile_error().into(),
    }
}

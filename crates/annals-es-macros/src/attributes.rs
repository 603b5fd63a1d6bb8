//! The attributes of the derive macro.
//!
//! Owns their grammar and the errors of wrong ones.

use syn::spanned::Spanned;
use syn::{Attribute, Error, Ident, LitInt, LitStr, Meta, Path, Result, Token};

/// The attribute `#[event(…)]` of an enum or struct.
#[derive(Default)]
pub(crate) struct Container {
    pub(crate) codec: Option<Path>,
    pub(crate) upcasters: Option<Path>,
}

/// The attribute `#[event(…)]` of a variant or struct.
pub(crate) struct Variant {
    pub(crate) name: LitStr,
    pub(crate) version: u16,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Event,
    Nested,
    Unknown,
}

/// Reads `#[event(…)]` of the type itself, and of the only event if it is a struct.
pub(crate) fn of_type(
    attributes: &[Attribute],
    ident: &Ident,
    is_struct: bool,
) -> Result<(Container, Variant)> {
    let mut container = Container::default();
    let mut variant = Variant::named(ident);
    for attribute in attributes.iter().filter(|it| it.path().is_ident("event")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("codec") {
                container.codec = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("upcasters") {
                container.upcasters = Some(meta.value()?.parse()?);
            } else if is_struct && meta.path.is_ident("name") {
                variant.name = name(&meta)?;
            } else if is_struct && meta.path.is_ident("version") {
                variant.version = version(&meta)?;
            } else if is_struct {
                return Err(meta.error("expected `name`, `version`, `codec` or `upcasters`"));
            } else {
                return Err(meta.error(
                    "expected `codec` or `upcasters`; `name` and `version` belong to variants",
                ));
            }
            Ok(())
        })?;
    }
    Ok((container, variant))
}

/// Reads `#[event(…)]` of a variant.
pub(crate) fn of_variant(attributes: &[Attribute], ident: &Ident) -> Result<Variant> {
    let mut variant = Variant::named(ident);
    for attribute in attributes.iter().filter(|it| it.path().is_ident("event")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                variant.name = name(&meta)?;
            } else if meta.path.is_ident("version") {
                variant.version = version(&meta)?;
            } else if meta.path.is_ident("nested") {
                variant.kind = Kind::Nested;
            } else if meta.path.is_ident("unknown") {
                variant.kind = Kind::Unknown;
            } else {
                return Err(meta.error("expected `name`, `version`, `nested` or `unknown`"));
            }
            Ok(())
        })?;
    }
    Ok(variant)
}

impl Variant {
    fn named(ident: &Ident) -> Self {
        let text = ident.to_string();
        let name = LitStr::new(text.trim_start_matches("r#"), ident.span());
        Self { name, version: 1, kind: Kind::Event }
    }
}

fn name(meta: &syn::meta::ParseNestedMeta<'_>) -> Result<LitStr> {
    let name: LitStr = meta.value()?.parse()?;
    if name.value().is_empty() || name.value().len() > 255 {
        return Err(Error::new(name.span(), "an event's name has 1 to 255 bytes"));
    }
    Ok(name)
}

fn version(meta: &syn::meta::ParseNestedMeta<'_>) -> Result<u16> {
    let literal: LitInt = meta.value()?.parse()?;
    match literal.base10_parse::<u16>() {
        Ok(version) if version > 0 => Ok(version),
        _ => Err(Error::new(literal.span(), "a schema version is a number from 1 to 65535")),
    }
}

/// The prefix of the tag that `#[tag("…")]` or `#[tag]` of a field makes.
pub(crate) fn tag_of(field: &syn::Field) -> Result<Option<LitStr>> {
    let mut found = None;
    for attribute in field.attrs.iter().filter(|it| it.path().is_ident("tag")) {
        if found.is_some() {
            return Err(Error::new(attribute.span(), "a field has one tag"));
        }
        found = Some(match &attribute.meta {
            Meta::Path(_) => match &field.ident {
                Some(ident) => LitStr::new(&ident.to_string(), ident.span()),
                None => {
                    let why =
                        "a field without a name needs the name of its tag: `#[tag(\"account\")]`";
                    return Err(Error::new(attribute.span(), why));
                }
            },
            Meta::List(list) => list.parse_args::<LitStr>().map_err(|error| {
                Error::new(error.span(), "expected the name of the tag: `#[tag(\"account\")]`")
            })?,
            Meta::NameValue(pair) => {
                return Err(Error::new(pair.span(), "write the tag as `#[tag(\"account\")]`"));
            }
        });
    }
    Ok(found)
}

/// What serde's attributes of a container or variant state, as far as the form of the data depends on it.
#[derive(Default)]
pub(crate) struct Serde {
    /// Serde does not deserialize the variant, so that it has no index.
    pub(crate) is_skipped: bool,
    /// The place of an attribute by which the enum is not externally tagged.
    pub(crate) other_form: Option<proc_macro2::Span>,
}

pub(crate) fn serde_of(attributes: &[Attribute]) -> Serde {
    let mut found = Serde::default();
    for attribute in attributes.iter().filter(|it| it.path().is_ident("serde")) {
        // Attributes that are wrong are reported by serde's own macro.
        let _ = attribute.parse_nested_meta(|meta| {
            let path = &meta.path;
            if path.is_ident("skip") || path.is_ident("skip_deserializing") {
                found.is_skipped = true;
            }
            if ["tag", "content", "untagged", "from", "try_from", "into"]
                .iter()
                .any(|name| path.is_ident(name))
            {
                found.other_form = Some(path.span());
            }
            if meta.input.peek(Token![=]) {
                meta.value()?.parse::<syn::Expr>()?;
            } else if meta.input.peek(syn::token::Paren) {
                meta.parse_nested_meta(|inner| {
                    if inner.input.peek(Token![=]) {
                        inner.value()?.parse::<syn::Expr>()?;
                    }
                    Ok(())
                })?;
            }
            Ok(())
        });
    }
    found
}

//! The errors of wrong input, and the parts of the generated code that other tests cannot see.

use syn::parse_str;

use crate::expand::event;

/// The error of deriving for the given code.
fn error_of(code: &str) -> String {
    let input = parse_str(code).expect("the test's input is Rust");
    event(&input).expect_err(code).to_string()
}

#[test]
fn wrong_input_is_refused_with_the_next_step() {
    for (code, part) in [
        ("union U { a: u8 }", "derived for an enum"),
        ("enum E {}", "at least one variant"),
        ("enum E<T> { A(T) }", "no generic parameters"),
        (
            "enum E { #[event(nmae = \"B\")] A }",
            "expected `name`, `version`, `nested` or `unknown`",
        ),
        ("enum E { #[event(name = \"\")] A }", "1 to 255 bytes"),
        ("enum E { #[event(version = 0)] A }", "from 1 to 65535"),
        ("enum E { #[event(version = 65536)] A }", "from 1 to 65535"),
        ("#[event(name = \"A\")] enum E { A }", "belong to variants"),
        ("#[event(nested)] struct S;", "expected `name`, `version`, `codec` or `upcasters`"),
        ("enum E { A, #[event(name = \"A\")] B }", "two variants have the name \"A\""),
        ("enum E { #[event(nested)] A }", "one unnamed field"),
        ("enum E { #[event(nested)] A(B, C) }", "one unnamed field"),
        ("enum E { #[event(nested)] A { b: B } }", "one unnamed field"),
        ("enum E { #[event(nested)] A(#[tag(\"b\")] B) }", "fields of the inner event"),
        ("enum E { #[event(unknown)] A(R), #[event(unknown)] B(R) }", "one variant for unknown"),
        ("enum E { A { #[tag(5)] b: u8 } }", "expected the name of the tag"),
        ("enum E { A { #[tag = \"b\"] b: u8 } }", "#[tag(\"account\")]"),
        ("enum E { A(#[tag] u8) }", "needs the name of its tag"),
        ("enum E { A { #[tag] #[tag(\"c\")] b: u8 } }", "one tag"),
        ("#[serde(tag = \"type\")] enum E { A }", "serde's standard form"),
        ("#[serde(rename_all = \"camelCase\", untagged)] enum E { A }", "serde's standard form"),
        ("enum E { #[serde(skip)] A }", "cannot be read back"),
    ] {
        let error = error_of(code);
        assert!(error.contains(part), "{code}: {error}");
    }
}

#[test]
fn index_of_a_variant_ignores_those_that_serde_skips() {
    let code =
        "enum E { A, #[event(unknown)] #[serde(skip)] U(RawEvent), #[event(nested)] N(N), B }";
    let input = parse_str(code).expect("the test's input is Rust");
    let code = event(&input).expect("it is right").to_string().replace(' ', "");
    assert!(code.contains("\"A\"=>::annals_es::__private::deserialize_variant(0u32,"), "{code}");
    assert!(code.contains("\"B\"=>::annals_es::__private::deserialize_variant(2u32,"), "{code}");
}

#[test]
fn enum_without_events_of_its_own_needs_no_serde() {
    let code = "#[serde(untagged)] enum E { #[event(nested)] A(A), #[event(nested)] B(B) }";
    let input = parse_str(code).expect("the test's input is Rust");
    assert!(event(&input).is_ok());
}

//! The rule that converts a path to a stream name, and back.

use proptest::prelude::*;

use super::paths;

fn assert_reversible(path: &[u8]) -> String {
    let stream = paths::stream_of(path);
    assert!((1..=1_024).contains(&stream.len()), "{} bytes", stream.len());
    let carried = paths::is_carried_in_data(&stream).then(|| path.to_vec());
    assert_eq!(paths::path_of(&stream, carried).as_deref(), Some(path));
    stream
}

#[test]
fn path_is_named_by_the_first_rule_that_applies() {
    let long = |length: usize| "x".repeat(length).into_bytes();
    let cases: [(&[u8], &str); 8] = [
        (b"src/lib.rs", "file-src/lib.rs"),
        (b"with-dash and space", "file-with-dash and space"),
        ("æ/日本\n\"quoted\"".as_bytes(), "file-æ/日本\n\"quoted\""),
        (b"100%41", "file-100%41"),
        (b"caf\xe9", "escaped-caf%E9"),
        (b"\xff100% \n", "escaped-%FF100%25 %0A"),
        (&long(1_019), &format!("file-{}", "x".repeat(1_019))),
        // The 128-bit FNV-1a hash of 1,020 times `x`, computed elsewhere.
        (&long(1_020), "hashed-22a67310b71f237d34d3bfe100b381fd"),
    ];
    for (path, stream) in cases {
        assert_eq!(assert_reversible(path), stream);
    }
    let escaped = [&[0xFF; 338][..], b"xx"].concat();
    assert_eq!(assert_reversible(&escaped).len(), 1_024);
    let hashed = [&[0xFF; 338][..], b"xxx"].concat();
    assert!(assert_reversible(&hashed).starts_with("hashed-"));
}

#[test]
fn stream_name_that_no_path_has_is_rejected() {
    let strays =
        ["", "other-x", "escaped-plain", "escaped-%ff", "escaped-%F", "escaped-%+1", "hashed-0"];
    for stray in strays {
        assert_eq!(paths::path_of(stray, None), None, "{stray}");
        assert_eq!(paths::path_of(stray, Some(b"x".to_vec())), None, "{stray}");
    }
}

/// Paths of every kind: text, almost text and bytes, around the lengths at which the rules change.
fn any_path() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(1..=255_u8, 1..40);
    let edge = prop_oneof![300..400_usize, 1_000..1_040_usize, 3_000..3_010_usize];
    prop_oneof![
        "\\PC{1,40}".prop_map(String::into_bytes),
        bytes(),
        (bytes(), edge.clone()).prop_map(|(unit, length)| {
            unit.iter().copied().cycle().take(length).collect::<Vec<_>>()
        }),
        ("[a-z%/]{1,9}", edge).prop_map(|(unit, length)| unit.repeat(length / unit.len()).into()),
    ]
}

proptest! {
    #[test]
    fn every_path_converts_to_a_stream_and_back(path in any_path()) {
        assert_reversible(&path);
    }

    #[test]
    fn different_paths_have_different_streams(one in any_path(), other in any_path()) {
        prop_assume!(one != other);
        prop_assert_ne!(paths::stream_of(&one), paths::stream_of(&other));
    }

    #[test]
    fn only_streams_of_paths_convert_to_paths(stream in "(file-|escaped-|hashed-|)[ -~é]{0,9}") {
        if let Some(path) = paths::path_of(&stream, None) {
            prop_assert_eq!(paths::stream_of(&path), stream);
        }
    }
}

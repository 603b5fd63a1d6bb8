//! Names of streams that are built from categories and ids.

use std::collections::HashMap;

use annals::{StreamName, category_of};

/// All texts of at most four characters that matter to the escapes.
fn texts() -> Vec<String> {
    let mut texts = vec![String::new()];
    let mut longest = texts.clone();
    for _ in 0..4 {
        let longer = |text: &String| {
            ["-", "%", "2", "5", "D", "ä"].map(|character| format!("{text}{character}"))
        };
        longest = longest.iter().flat_map(longer).collect();
        texts.extend_from_slice(&longest);
    }
    texts
}

#[test]
fn stream_name_of_any_category_and_id_reads_back_both() {
    let mut names = HashMap::new();
    for category in texts() {
        for id in ["", "-", "4-%2D"] {
            let name = StreamName::new(&category, id);
            assert_eq!((name.category().as_ref(), name.id()), (&*category, Some(id)));
            assert_eq!(category_of(name.as_str()), StreamName::escape(&category));
            let other = names.insert(String::from(&name), (category.clone(), id));
            assert_eq!(other, None, "{name} is also {category:?} and {id:?}");
        }
    }
}

#[test]
fn stream_name_from_elsewhere_is_taken_as_it_is() {
    for (name, category, id) in [
        ("audit", "audit", None),
        ("account-42-eur", "account", Some("42-eur")),
        ("50%-1", "50%", Some("1")),
        ("%2d%-1", "%2d%", Some("1")),
        ("", "", None),
    ] {
        let parsed = StreamName::parse(name);
        assert_eq!((parsed.category().as_ref(), parsed.id()), (category, id));
        assert_eq!(parsed.as_str(), name);
    }
}

//! The records of a history: events, their streams, commits and authors.

use serde_json::{Value, json};

use super::paths;
use super::script::{Script, small_history};
use super::support::Place;

#[test]
fn paths_of_every_kind_are_recorded() {
    let paths: Vec<Vec<u8>> = [
        &b"plain"[..],
        b"-dash",
        b":100644 100644 a b M",
        b"commit 0123456789012345678901234567890123456789",
        b"spaces  and\ttab",
        b"quote\"s and 'apostrophes' and \\backslash\\",
        b"line\nbreak\r\n",
        b"\n",
        b" ",
        b"*?[x]",
        "日本語/ünï/🦀".as_bytes(),
        b"\x01\x1b[31m\x7f",
        b"caf\xe9/\xff\xfe",
        b"\xed\xa0\x80",
        b"deep/",
        b"longest",
        b"too long",
        b"too long, and not text \xff",
    ]
    .into_iter()
    .map(|path| match path {
        b"deep/" => [&b"d/".repeat(200)[..], b"leaf"].concat(),
        b"longest" => b"n".repeat(1_019),
        b"too long" => b"n".repeat(1_020),
        b"too long, and not text \xff" => {
            [&[&[b'm'; 250][..], b"/"].concat().repeat(30)[..], b"\xff"].concat()
        }
        path => path.to_vec(),
    })
    .collect();

    let place = Place::new(&[]);
    let mut script = Script::default();
    script.commit();
    for path in &paths {
        script.put("644", path, "1");
    }
    script.commit();
    for path in &paths {
        script.put("755", path, "2");
    }
    script.commit();
    for path in paths.iter().step_by(2) {
        script.delete(path);
    }
    place.import(&script.bytes);
    let ran = place.record("store");
    ran.assert_match();
    assert_eq!(ran.value("streams"), paths.len().to_string());

    let events = place.recorded("store");
    for (index, path) in paths.iter().enumerate() {
        let stream = paths::stream_of(path);
        let kinds: Vec<_> =
            events.iter().filter(|e| e.stream == stream).map(|e| e.kind.as_str()).collect();
        let expected = ["Added", "Modified", "Deleted"];
        let count = if index % 2 == 0 { 3 } else { 2 };
        assert_eq!(kinds, expected[..count], "{stream}");
    }
    let carried: Vec<_> = events.iter().filter(|e| e.data.get("path").is_some()).collect();
    assert!(carried.iter().all(|event| event.stream.starts_with("hashed-")));
    assert!(carried.iter().any(|event| event.data["path"].is_string()));
    assert!(carried.iter().any(|event| event.data["path"]["escaped"].is_string()));
}

#[test]
fn changes_of_kind_and_mode_of_a_path_are_recorded() {
    let place = Place::new(&[]);
    let mut script = Script::default();
    // A repository may configure git to hide changes of a submodule; they are recorded anyway.
    let modules = "[submodule \"m\"]\n\tpath = m\n\turl = ./m\n\tignore = all\n";
    script
        .commit()
        .put("644", b".gitmodules", modules)
        .put("644", b"f", "1")
        .put("755", b"x", "1")
        .put("120000", b"l", "f")
        .submodule(b"m", '1');
    script.commit().put("755", b"f", "1").submodule(b"m", '2');
    script.commit().put("120000", b"f", "x").put("644", b"l", "file").put("644", b"m", "was one");
    script.commit().submodule(b"f", '3').submodule(b"m", '4');
    // A directory replaces a file, which comes back in its old stream.
    script.commit().delete(b"f").put("644", b"f/inside", "1").delete(b"l");
    script.commit().delete(b"f/inside").put("644", b"f", "2").put("120000", b"l", "x");
    place.import(&script.bytes);
    for (key, value) in [
        ("diff.ignoreSubmodules", "all"),
        ("diff.renames", "copies"),
        ("diff.noprefix", "true"),
        ("diff.external", "false"),
        ("core.abbrev", "4"),
        ("core.quotePath", "true"),
        ("log.showSignature", "true"),
        ("log.diffMerges", "combined"),
        ("i18n.logOutputEncoding", "UTF-16"),
    ] {
        place.git(&["config", key, value]);
    }
    place.record("store").assert_match();

    let events = place.recorded("store");
    let history = |path: &str| -> Vec<String> {
        let stream = paths::stream_of(path.as_bytes());
        let of_path = events.iter().filter(|event| event.stream == stream);
        of_path
            .zip(1..)
            .map(|(event, version)| {
                assert_eq!(event.version, version);
                let mode = |which: &str| event.data[which]["mode"].as_str().unwrap_or("-");
                format!("{} {} {}", event.kind, mode("old"), mode("new"))
            })
            .collect()
    };
    assert_eq!(
        history("f"),
        [
            "Added - 100644",
            "Modified 100644 100755",
            "TypeChanged 100755 120000",
            "TypeChanged 120000 160000",
            "Deleted 160000 -",
            "Added - 100644",
        ]
    );
    assert_eq!(
        history("m"),
        [
            "Added - 160000",
            "Modified 160000 160000",
            "TypeChanged 160000 100644",
            "TypeChanged 100644 160000",
        ]
    );
    let l = ["Added - 120000", "TypeChanged 120000 100644", "Deleted 100644 -", "Added - 120000"];
    assert_eq!(history("l"), l);
    assert_eq!(history("f/inside"), ["Added - 100644", "Deleted 100644 -"]);
    assert_eq!(history("x"), ["Added - 100755"]);
    assert!(events.iter().any(|event| event.data["new"]["oid"] == "4".repeat(40)));
}

#[test]
fn git_commit_is_one_commit_with_its_author() {
    let place = Place::new(&[]);
    let authors: [(&[u8], Value); 6] = [
        (b"Ann <a@x> 1700000000 +0530", json!(["Ann", "a@x", "1700000000 +0530"])),
        ("Zoë 日本 <z@x> 0 -1200".as_bytes(), json!(["Zoë 日本", "z@x", "0 -1200"])),
        // An unknown offset, an invalid one, and a time beyond every calendar.
        (b"B <> 12 -0000", json!(["B", "", "12 -0000"])),
        (b"C <c@x> 99 +051800", json!(["C", "c@x", "99 +051800"])),
        (b"D <d@x> 99999999999 +0000", json!(["D", "d@x", "99999999999 +0000"])),
        (
            b"J\xf6rg <j\xf6@x> 5 +0100",
            json!([
                {"escaped": "J%F6rg"}, {"escaped": "j%F6@x"}, "5 +0100"
            ]),
        ),
    ];
    let messages: [&[u8]; 6] = [
        b"",
        b"commit 1234\nauthor Nobody <n@x> 1 +0000\n\n:100644 100644 a b M",
        b"one\n\n\n\n",
        b"\xff\xfe not text",
        b":000000 100644 0 1 A",
        b"last\n\n:000000 100644 0 1 A",
    ];
    let mut script = Script::default();
    for (number, ((author, _), message)) in authors.iter().zip(messages).enumerate() {
        script.commit_as(author, message);
        for path in [&b"a"[..], b"b", b"c/d"] {
            script.put("644", path, &number.to_string());
        }
    }
    place.import(&script.bytes);
    place.record("store").assert_match();

    let commits = place.git(&["rev-list", "--reverse", "main"]);
    let events = place.recorded("store");
    assert_eq!(events.len(), 3 * authors.len());
    for ((events, commit), (_, author)) in events.chunks(3).zip(commits.lines()).zip(&authors) {
        let streams: Vec<_> = events.iter().map(|event| event.stream.as_str()).collect();
        assert_eq!(streams, ["file-a", "file-b", "file-c/d"]);
        assert!(events.iter().all(|event| event.in_commit == events[0].in_commit));
        for event in events {
            let metadata = json!({
                "commit": commit,
                "author": {"name": author[0], "email": author[1], "time": author[2]},
            });
            assert_eq!(event.metadata, metadata);
        }
    }
}

/// Commits that no tool writes and a repository may hold.
#[test]
fn malformed_git_commits_are_recorded() {
    let place = Place::new(&[]);
    let mut script = small_history();
    script.commit();
    place.import(&script.bytes);
    let tree = place.git(&["rev-parse", "main~1^{tree}"]);
    let other = place.git(&["rev-parse", "main~2^{tree}"]);
    let latin = b"author J\xf6rg <j@x> 7 +0000\ncommitter x <x> 7 +0000\nencoding ISO-8859-1\n\nm";
    let bodies: [(&str, &[u8]); 5] = [
        (&other, b"author nobody\n\nm"),
        (&tree, b"committer x <x> 1 +0000\n\n"),
        (&other, b"\n"),
        (&tree, b"author a\0b <x> 1 +0000\n\nmes\0sage"),
        (&other, latin),
    ];
    for (tree, body) in bodies {
        let parent = place.git(&["rev-parse", "main"]);
        let commit = place.commit_object(tree, &parent, body);
        place.git(&["update-ref", "refs/heads/main", &commit]);
    }
    place.record("store").assert_match();

    let events = place.recorded("store");
    let names: Vec<_> =
        events.iter().map(|event| event.metadata["author"]["name"].clone()).collect();
    // Three commits of two, one and two events; then five of two each.
    assert_eq!(names[5..].iter().step_by(2).collect::<Vec<_>>(), ["nobody", "", "", "a", "Jörg"]);
}

#[test]
fn merge_is_recorded_as_its_difference_from_the_first_parent() {
    let place = Place::new(&[]);
    let mut script = small_history();
    // Two branches from the first commit, merged; one change belongs to the merge itself.
    script
        .raw(b"commit refs/heads/side\nmark :91\ncommitter S <s@x> 3 +0000")
        .data(b"side")
        .raw(b"from :1")
        .put("644", b"side", "1")
        .raw(b"commit refs/heads/third\nmark :92\ncommitter S <s@x> 3 +0000")
        .data(b"third")
        .raw(b"from :1")
        .put("644", b"third", "1");
    script
        .commit()
        .raw(b"merge :91\nmerge :92")
        .put("644", b"side", "1")
        .put("644", b"third", "1")
        .put("644", b"a", "merged");
    // A merge without changes from the other side records nothing.
    script.commit().raw(b"merge :91");
    place.import(&script.bytes);
    let ran = place.record("store");
    ran.assert_match();
    assert_eq!(
        ran.value("recorded"),
        "8 events of 4 commits (1 more without changes, 0 recorded before)"
    );

    let commits = place.git(&["rev-list", "--first-parent", "--reverse", "main"]);
    let merge = commits.lines().nth(3).unwrap();
    let events = place.recorded("store");
    let of_merge: Vec<_> = events
        .iter()
        .filter(|event| event.metadata["commit"] == merge)
        .map(|event| (event.stream.as_str(), event.kind.as_str()))
        .collect();
    assert_eq!(of_merge, [("file-a", "Modified"), ("file-side", "Added"), ("file-third", "Added")]);
}

#[test]
fn git_commits_without_changes_record_nothing() {
    let place = Place::new(&[]);
    let mut script = Script::default();
    script.commit();
    script.commit();
    place.import(&script.bytes);
    let ran = place.record("empty");
    ran.assert_match();
    assert_eq!((ran.value("events"), ran.value("streams")), ("0", "0"));

    script.commit().put("644", b"a", "1");
    script.commit();
    script.commit().delete(b"a");
    script.commit();
    place.import(&script.bytes);
    let ran = place.record("empty");
    ran.assert_match();
    assert_eq!(ran.value("events"), "2");
    assert_eq!(place.recorded("empty")[1].kind, "Deleted");
}

#[test]
fn many_commits_and_a_large_one_are_recorded() {
    let place = Place::new(&[]);
    let mut script = Script::default();
    script.commit();
    for number in 0..10_000 {
        script.put("644", format!("large/{}/{number}", number % 100).as_bytes(), "1");
    }
    for number in 0..3_000_u32 {
        script.commit();
        for step in 0..4 {
            let path = format!("many/{}/{}", number % 7, (number * 31 + step) % 1_000);
            script.put("644", path.as_bytes(), &number.to_string());
        }
    }
    place.import(&script.bytes);
    let ran = place.record("store");
    ran.assert_match();
    assert_eq!(ran.value("events"), "22000");
    assert_eq!(
        ran.value("recorded"),
        "22000 events of 3001 commits (0 more without changes, 0 recorded before)"
    );
}

//! Existing stores: continued, of another kind, or different from git.

use annals::{ExpectedVersion, NewEvent, Options};
use serde_json::{Value, json};

use super::script::{Script, small_history};
use super::support::{Place, Ran};

#[test]
fn existing_store_is_continued() {
    let place = Place::new(&[]);
    let mut script = small_history();
    place.import(&script.bytes);
    place.record("store").assert_match();

    let again = place.record("store");
    again.assert_match();
    let nothing = "0 events of 0 commits (0 more without changes, 3 recorded before)";
    assert_eq!(again.value("recorded"), nothing);

    script.commit();
    script.commit().put("644", b"b", "back").put("644", b"a", "3");
    place.import(&script.bytes);
    let on = place.record("store");
    on.assert_match();
    let some = "2 events of 1 commits (1 more without changes, 3 recorded before)";
    assert_eq!(on.value("recorded"), some);
    assert_eq!(on.value("events"), "7");

    let events = place.recorded("store");
    let b: Vec<_> = events
        .iter()
        .filter(|event| event.stream == "file-b")
        .map(|event| (event.version, event.kind.as_str()))
        .collect();
    assert_eq!(b, [(1, "Added"), (2, "Deleted"), (3, "Added")]);
}

#[test]
fn store_of_another_kind_is_refused_and_unchanged() {
    let place = Place::new(&[]);
    place.import(&small_history().bytes);
    place.record("store").assert_match();

    let mut rewritten = Script::default();
    rewritten.commit_as(b"Another <a@x> 1 +0000", b"").put("644", b"a", "1");
    place.import(&rewritten.bytes);
    place.record("store").assert_refused(1, "which is not in the first-parent history");
    assert_eq!(place.recorded("store").len(), 5);

    let other = Options::new().open(place.path("other")).unwrap();
    other.append("account-1", ExpectedVersion::NoStream, [NewEvent::new("Opened", b"")]).unwrap();
    other.close().unwrap();
    place.record("other").assert_refused(1, "other events than a git history's");

    let locked = Options::new().open(place.path("locked")).unwrap();
    place.record("locked").assert_refused(1, "open for writing elsewhere");
    locked.close().unwrap();
}

/// Records the last commit in place of the example, with `forge` applied to its data.
fn forged(forge: impl Fn(&mut Value)) -> Ran {
    let place = Place::new(&[]);
    place.import(&small_history().bytes);
    let head = place.git(&["rev-parse", "main"]);
    place.record("sound").assert_match();
    place.git(&["update-ref", "refs/heads/main", "main~1"]);
    place.record("forged").assert_match();
    place.git(&["update-ref", "refs/heads/main", &head]);

    let store = Options::new().open(place.path("forged")).expect("it was closed");
    let mut transaction = store.transaction();
    for event in place.recorded("sound").iter().filter(|e| e.metadata["commit"] == head) {
        let mut data = event.data.clone();
        forge(&mut data);
        let new = NewEvent::json(&event.kind, &data).expect("JSON");
        let new = new.metadata(event.metadata.to_string());
        let expected = ExpectedVersion::Exact(event.version - 1);
        transaction = transaction.append(&event.stream, expected, [new]);
    }
    transaction.commit().expect("the versions are right");
    store.close().expect("it can be synced");
    place.record("forged")
}

#[test]
fn difference_from_git_is_printed_and_exits_with_1() {
    forged(|_| {}).assert_match();

    let ran = forged(|data| {
        if let Some(new) = data.get_mut("new") {
            new["mode"] = json!("100755");
        }
    });
    ran.assert_refused(1, "");
    assert!(
        ran.stdout.contains("streams alone, DIFFERENT\n  c: git has 100644 "),
        "{}",
        ran.stdout
    );
    // Only HEAD differs; earlier commits agree.
    let past = ran.stdout.lines().filter(|line| line.contains(" as of position "));
    let same: Vec<_> = past.map(|line| line.ends_with("streams alone, same")).collect();
    assert_eq!(same, [false, true, true], "{}", ran.stdout);

    let ran = forged(|data| {
        if let Some(old) = data.get_mut("old") {
            old["oid"] = json!("0".repeat(40));
        }
    });
    ran.assert_refused(1, "position 4: b is not what the event says it was");
}

//! Importing events that are stored already.

use super::support::{Scratch, exported, import, join, line, lines, run_with, without};

/// What does not depend on the grouping into commits.
fn events(store: &str) -> Vec<String> {
    exported(store).iter().map(|line| without(line, "commit")).collect()
}

#[test]
fn a_second_import_changes_nothing_and_says_so() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let input = lines(0..2500);
    import(&store, &input).ok();
    let before = exported(&store);
    for batch in ["1", "7", "1000", "100000"] {
        let done = run_with(&["import", &store, "--batch", batch], &input).ok();
        let expected = "imported 0 events in 0 commits (2500 already recorded), nothing changed";
        assert!(done.stdout.contains(expected), "{batch}: {done:?}");
    }
    assert_eq!(exported(&store), before);
    // Exported lines are recognised too.
    let done = import(&store, join(&before)).ok();
    assert!(done.stdout.contains("nothing changed"), "{done:?}");
}

#[test]
fn an_interrupted_import_can_be_run_again() {
    let scratch = Scratch::new();
    let whole = scratch.store("whole");
    let input = lines(0..3000);
    import(&whole, &input).ok();
    for (batch, done_before) in [("7", 1500), ("1000", 1500), ("100000", 2999), ("1000", 2000)] {
        let store = scratch.store(&format!("{batch}-{done_before}"));
        import(&store, lines(0..done_before)).ok();
        let done = run_with(&["import", &store, "--batch", batch], &input).ok();
        let expected = format!("imported {} event", 3000 - done_before);
        assert!(done.stdout.contains(&expected), "{done:?}");
        assert!(done.stdout.contains(&format!("({done_before} already recorded)")), "{done:?}");
        assert_eq!(events(&store), events(&whole));
    }
}

#[test]
fn a_commit_of_known_and_new_events_is_refused() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, line(1)).ok();
    let of_commit = |number| line(number).replace('}', ",\"commit\":\"c\"}");
    let input = [of_commit(1), of_commit(2)].concat();
    import(&store, input).fails(1, "lines 1 to 2: event id ");
    assert_eq!(exported(&store).len(), 1);
}

#[test]
fn the_same_line_twice_in_one_batch_is_stored_once() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    let done = import(&store, [line(1), line(2), line(1)].concat()).ok();
    assert!(
        done.stdout.contains("imported 2 events in 2 commits (1 already recorded)"),
        "{done:?}"
    );
}

#[test]
fn acknowledgements_of_known_events_name_their_old_positions() {
    let scratch = Scratch::new();
    let store = scratch.store("s");
    import(&store, lines(0..4)).ok();
    let done = run_with(&["import", &store, "--ack"], lines(2..4)).ok();
    assert_eq!(done.stdout, "{\"first_position\":3,\"last_position\":4,\"lines\":[1,2]}\n");
}

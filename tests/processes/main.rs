//! Real processes on a real disk: killed without warning, without room, without descriptors,
//! without permission, and in each other's way.
//!
//! The child of each test is this test binary again ([`child_process_runs_its_role`]). What needs a file system of its
//! own runs inside a mount namespace ([`namespace`]), and says so where that cannot be had.
//!
//! The same lives go on for as long as one wants in `examples/torture`.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
#![allow(clippy::cast_possible_truncation, reason = "test data made from random numbers")]
#![allow(clippy::print_stdout, reason = "seeds and counts, shown when a test fails")]
#![allow(clippy::disallowed_methods, reason = "real files and processes are the subject")]

#[cfg(target_os = "linux")]
mod directory;
mod followers;
#[cfg(target_os = "linux")]
mod full_file_system;
mod kill;
mod life;
#[cfg(target_os = "linux")]
mod limits;
mod lock;
#[cfg(target_os = "linux")]
mod moved_directories;
#[cfg(target_os = "linux")]
mod namespace;

/// Not a test: what a child does.
#[test]
fn child_process_runs_its_role() {
    let Some((role, store, life)) = life::child::role() else { return };
    let path = std::path::Path::new(&store);
    match role.as_str() {
        "write" => life::writer::live(path, life),
        "fight" => lock::fight(path),
        #[cfg(target_os = "linux")]
        "file-size" => limits::write_up_to_a_file_size(path, life),
        #[cfg(target_os = "linux")]
        "open-files" => limits::write_with_few_descriptors(path, life),
        #[cfg(target_os = "linux")]
        "open-files-again" => limits::read_with_few_descriptors(path, life),
        #[cfg(target_os = "linux")]
        "change-directory" => moved_directories::append_after_a_change_of_directory(path, life),
        role => panic!("no role {role:?}"),
    }
}

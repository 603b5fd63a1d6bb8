//! Processes on a real disk: killed, without space, descriptors or permission, and competing for
//! one store.
//!
//! The child of each test is this test binary, run again as [`child_process_runs_its_role`]. A test
//! that needs a file system of its own runs inside a mount namespace ([`namespace`]), and prints
//! that it is skipped where that is impossible.
//!
//! `examples/torture` runs the same lives for any length of time.

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

/// The child process, not a test.
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

//! File systems for one test: a small tmpfs, read-only mounts, overlays, an ext2 in a file.
//!
//! A test that needs one runs again in a child inside a mount namespace, as root or as the root of
//! a user namespace. Its mounts are visible only there and end with the child. If the system
//! permits neither, the test prints that it is skipped to standard error.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

const INSIDE: &str = "ANNALS_TEST_INSIDE_NAMESPACE";

/// Printed without the test harness, which captures the output of a passing test.
pub(crate) fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED {test}: {why}\n");
}

/// Runs `body` inside a namespace; `test` is the full name of the test that calls this.
pub(crate) fn inside(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some_and(|name| name == test) {
        return body();
    }
    let works = |flags: &&str| {
        let mut tried = Command::new("unshare");
        tried.arg(flags).args(["mount", "-t", "tmpfs", "t", "/mnt"]);
        tried.output().is_ok_and(|output| output.status.success())
    };
    let Some(flags) = ["-m", "-Urm"].into_iter().find(works) else {
        return skipped(test, "no mount namespace can be had here (unshare -m, unshare -Urm)");
    };
    let output = Command::new("unshare")
        .args([flags, "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .output()
        .unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}{err}");
    assert!(output.status.success(), "inside the namespace: {}", output.status);
    for line in err.lines().filter(|line| line.contains("*** SKIPPED")) {
        let _ = writeln!(std::io::stderr(), "\n{line}\n");
    }
}

/// Runs `mount` with these arguments; returns whether it succeeded.
pub(crate) fn try_mount(arguments: &[&str], at: &Path) -> bool {
    let output = Command::new("mount").args(arguments).arg(at).output().unwrap();
    if !output.status.success() {
        println!("mount {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

pub(crate) fn mount(arguments: &[&str], at: &Path) {
    assert!(try_mount(arguments, at), "mount {arguments:?}");
}

/// Mounts a tmpfs of this number of kibibytes.
pub(crate) fn tmpfs(at: &Path, kibibytes: u64) {
    std::fs::create_dir_all(at).unwrap();
    mount(&["-t", "tmpfs", "-o", &format!("size={kibibytes}k"), "annals"], at);
}

/// Fills a file system except for a number of bytes, until it is dropped.
pub(crate) struct Ballast(std::path::PathBuf);

impl Ballast {
    pub(crate) fn leaving(bytes: u64, on: &Path) -> Self {
        let path = on.join("ballast");
        let mut file = std::fs::File::create(&path).unwrap();
        let stat = rustix::fs::statvfs(on).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let block = vec![1; 4096];
        for _ in 0..free.saturating_sub(bytes) / 4096 {
            if file.write_all(&block).is_err() {
                break;
            }
        }
        Self(path)
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

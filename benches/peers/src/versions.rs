//! The versions of the peers, as this workspace's lock file has them.

const LOCK: &str = include_str!("../Cargo.lock");

/// The version of a package; the newest where there are several.
pub fn of(package: &str) -> Option<&'static str> {
    let mut found = None;
    let mut lines = LOCK.lines();
    while let Some(line) = lines.next() {
        if line.strip_prefix("name = \"").and_then(|rest| rest.strip_suffix('"')) == Some(package) {
            let version = lines.next().and_then(|line| line.strip_prefix("version = \""));
            found = version.and_then(|rest| rest.strip_suffix('"'));
        }
    }
    found
}

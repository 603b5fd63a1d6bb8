//! Starts this program again as a child, reads its output, kills it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::writer::Life;

const ROLE: &str = "ANNALS_CHILD_ROLE";
const STORE: &str = "ANNALS_CHILD_STORE";
const LIFE: &str = "ANNALS_CHILD_LIFE";
/// A bound for every wait for a child.
const PATIENCE: Duration = Duration::from_secs(120);

/// The role of this process if it is a child: the role, the store's directory, the life.
pub(crate) fn role() -> Option<(String, String, Life)> {
    let role = std::env::var(ROLE).ok()?;
    let life = std::env::var(LIFE).ok()?;
    let numbers: Vec<u64> = life.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [seed, number, synced] = numbers[..] else { return None };
    let life = Life { seed, number, synced: synced == 1 };
    Some((role, std::env::var(STORE).ok()?, life))
}

/// A command that runs this program as a child.
pub(crate) fn command(role: &str, store: &Path, life: Life) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    arrange(&mut command, role, store, life);
    command
}

/// Adds the role to a command that ends in this program.
pub(crate) fn arrange(command: &mut Command, role: &str, store: &Path, life: Life) {
    if cfg!(test) {
        // In a test binary, the test of this name runs the role.
        command.args([
            "--exact",
            "child_process_runs_its_role",
            "--nocapture",
            "--test-threads=1",
            "--quiet",
        ]);
    }
    let life = format!("{} {} {}", life.seed, life.number, u8::from(life.synced));
    command.env(ROLE, role).env(STORE, store).env(LIFE, life);
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    lines: Option<Receiver<String>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        // Read continuously: a full pipe would block the child.
        thread::spawn(move || {
            let mut out = BufReader::new(out);
            let mut line = String::new();
            while out.read_line(&mut line).is_ok_and(|length| length > 0) {
                // A line that the kill has cut short does not count.
                if let Some(whole) = line.strip_suffix('\n')
                    && sender.send(whole.to_owned()).is_err()
                {
                    return;
                }
                line.clear();
            }
        });
        Self { child, lines: Some(lines) }
    }

    fn lines(&self) -> &Receiver<String> {
        self.lines.as_ref().unwrap()
    }

    /// The receiver of its further lines.
    pub(crate) fn take_lines(&mut self) -> Receiver<String> {
        self.lines.take().unwrap()
    }

    /// The next line within this time.
    pub(crate) fn hear(&self, within: Duration) -> Option<String> {
        self.lines().recv_timeout(within).ok()
    }

    /// Reads lines up to one that `wanted` accepts.
    pub(crate) fn hear_until(&self, mut wanted: impl FnMut(&str) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines().recv_timeout(left) {
                Ok(line) if wanted(&line) => return,
                Ok(_) => {}
                Err(why) => panic!("the child says nothing more: {why}"),
            }
        }
    }

    /// Makes it print the visible position.
    pub(crate) fn ask(&mut self) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(b"head\n").unwrap();
    }

    /// Kills it, and reads its remaining lines. Panics if it has ended before.
    pub(crate) fn kill(mut self, mut hear: impl FnMut(&str)) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the child ended by itself: {ended:?}");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        while let Some(Ok(line)) = self.lines.as_ref().map(Receiver::recv) {
            hear(&line);
        }
    }

    /// Waits for its end, and reads its lines meanwhile.
    pub(crate) fn wait(mut self, mut hear: impl FnMut(&str)) -> std::process::ExitStatus {
        while let Ok(line) = self.lines().recv_timeout(PATIENCE) {
            hear(&line);
        }
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

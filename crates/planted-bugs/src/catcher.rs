//! Builds the copy of the tree and runs what must notice a bug, with a limit on its time.
//!
//! Must never take its own failure for a detected bug: code that does not compile, does not run or
//! exceeds the time is an error.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use wait_timeout::ChildExt as _;

use crate::bug::CaughtBy;
use crate::tree::Tree;

const RUNNER: &str = include_str!("../runner/seeds.rs");
const RUNNER_NAME: &str = "planted_seeds";

/// The result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Noticed, after so much work, with these words.
    Caught {
        /// How much work it took.
        took: String,
        /// The message.
        message: String,
    },
    /// Not noticed, after so much work.
    Missed {
        /// How much work was done.
        took: String,
    },
}

/// Builds and runs in a copy of the tree.
#[derive(Debug)]
pub struct Catcher {
    scratch: PathBuf,
    limit: Duration,
}

impl Catcher {
    /// Works below a scratch directory: `tree` and `target`. `limit` is for one run.
    ///
    /// # Errors
    ///
    /// If the runner cannot be written into the tree.
    pub fn new(scratch: &Path, tree: &Tree, limit: Duration) -> Result<Self> {
        tree.add(&format!("examples/{RUNNER_NAME}.rs"), RUNNER)?;
        Ok(Self { scratch: scratch.to_path_buf(), limit })
    }

    /// Builds the tree as it is, and runs one catcher over it.
    ///
    /// # Errors
    ///
    /// What does not compile or does not come to an end.
    pub fn run(&self, tree: &Tree, caught_by: &CaughtBy) -> Result<Verdict> {
        match caught_by {
            CaughtBy::Simulator { seeds } => {
                let executable =
                    self.build(tree, "annals", &["build", "--example", RUNNER_NAME])?;
                let [from, to] = seeds.map(|seed| seed.to_string());
                let (_, output) = self.execute(tree, &executable, &[&from, &to])?;
                read_seeds(&output, seeds[0])
            }
            CaughtBy::Test { package, target, name, .. } => {
                let test = ["test", "--no-run", "--test", target];
                let executable = self.build(tree, package, &test)?;
                let (status, output) = self.execute(tree, &executable, &[name, "--exact"])?;
                read_test(status, &output, name)
            }
        }
    }

    /// Builds one executable; returns where it is.
    fn build(&self, tree: &Tree, package: &str, arguments: &[&str]) -> Result<PathBuf> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(arguments)
            .args(["--locked", "--package", package])
            .args(["--message-format", "json-render-diagnostics"])
            .current_dir(tree.root())
            .env("CARGO_TARGET_DIR", self.scratch.join("target"))
            // A bug leaves things unused: warnings must not be errors here.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .context("cargo")?;
        if !built.status.success() {
            let words = String::from_utf8_lossy(&built.stderr).into_owned();
            let from = words.find("\nerror").unwrap_or(0);
            let words: Vec<&str> = words[from..].trim().lines().take(12).collect();
            bail!("does not compile:\n{}", words.join("\n"));
        }
        let messages = String::from_utf8_lossy(&built.stdout).into_owned();
        let mut executables = messages.lines().filter_map(|line| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            message.get("executable")?.as_str().map(PathBuf::from)
        });
        executables.next_back().context("cargo has built no executable")
    }

    fn execute(
        &self,
        tree: &Tree,
        executable: &Path,
        arguments: &[&str],
    ) -> Result<(ExitStatus, String)> {
        // A file and not a pipe, which would have to be emptied meanwhile.
        let path = self.scratch.join("output");
        let output = File::create(&path).with_context(|| path.display().to_string())?;
        let mut child = Command::new(executable)
            .args(arguments)
            .current_dir(tree.root())
            .env("RUST_BACKTRACE", "0")
            .env("CARGO_MANIFEST_DIR", tree.root())
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()
            .with_context(|| executable.display().to_string())?;
        let Some(status) = child.wait_timeout(self.limit)? else {
            child.kill()?;
            child.wait()?;
            bail!("still running after {} s", self.limit.as_secs());
        };
        Ok((status, String::from_utf8_lossy(&fs::read(&path)?).into_owned()))
    }
}

/// Parses the output of the runner.
fn read_seeds(output: &str, first: u64) -> Result<Verdict> {
    let progress = output.lines().rfind(|line| line.starts_with("seed "));
    let mut words = progress.unwrap_or_default().split(' ').skip(1).step_by(2);
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
    let (Some(seed), Some(states)) = (number(), number()) else {
        bail!("the runner said: {output:?}");
    };
    let took = |seeds: u64| {
        let plural = if seeds == 1 { "" } else { "s" };
        format!("{seeds} seed{plural}, {states} states")
    };
    if output.lines().last() == Some("passed") {
        return Ok(Verdict::Missed { took: took(seed - first) });
    }
    // A process that was ended by a signal prints no message.
    let message = output.lines().find_map(|line| line.strip_prefix("caught "));
    let message = message.unwrap_or("the process died").to_owned();
    Ok(Verdict::Caught { took: took(seed - first + 1), message })
}

/// Parses the output of a test binary that ran one test.
fn read_test(status: ExitStatus, output: &str, name: &str) -> Result<Verdict> {
    ensure!(output.contains("running 1 test"), "there is no test {name:?}");
    let took = "1 test".to_owned();
    if status.success() {
        return Ok(Verdict::Missed { took });
    }
    let mut lines = output.lines().skip_while(|line| !line.contains("panicked at ")).skip(1);
    let message = lines.find(|line| !line.trim().is_empty()).unwrap_or("the process died");
    Ok(Verdict::Caught { took, message: message.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runner_prints_is_understood() {
        let read = |output: &str| read_seeds(output, 5).unwrap();
        let caught = |took: &str, message: &str| Verdict::Caught {
            took: took.to_owned(),
            message: message.to_owned(),
        };
        let output = "seed 5 states 0\nseed 6 states 3\ncaught lost 2\n";
        assert_eq!(read(output), caught("2 seeds, 3 states", "lost 2"));
        assert_eq!(read("seed 5 states 0\n"), caught("1 seed, 0 states", "the process died"));
        let passed = read("seed 5 states 0\nseed 6 states 3\npassed\n");
        assert_eq!(passed, Verdict::Missed { took: "1 seed, 3 states".into() });
        assert!(read_seeds("", 5).is_err());
    }
}

//! Starts every measurement in a separate process, peers in turn within a repetition, and collects
//! their output.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::machine;
use crate::options::{Options, Scale};
use crate::peer::{About, Result};
use crate::workload::{Store, Workload};

/// A measurement that takes longer is ended and counts as failed.
const PATIENCE: Duration = Duration::from_secs(180);
/// The same for filling a store.
const PATIENCE_FILLING: Duration = Duration::from_secs(1_800);
/// The large store has as many times more streams than the other.
const LARGE: u64 = 10;

/// A process that fills a store.
struct Filling {
    about: &'static About,
    store: Store,
    task: String,
    dir: PathBuf,
    child: Child,
    started: Instant,
}

pub struct Driver {
    program: PathBuf,
    dir: PathBuf,
    scale: Scale,
    peers: Vec<&'static About>,
    workloads: Vec<Workload>,
    /// Peers that could not hold the rate of `paced`: once is enough to know.
    too_slow: Vec<&'static str>,
    /// Allocated and used bytes of each peer's store of scattered events.
    disks: Vec<(&'static str, (u64, u64))>,
    log: fs::File,
}

impl Driver {
    /// `dir` is where the stores go, `log` takes a line of JSON for each result.
    pub fn new(options: &Options, dir: PathBuf, log: fs::File) -> Result<Self> {
        let peers = crate::chosen_peers(options)?;
        let workloads = crate::chosen_workloads(options)?;
        let scale = options.scale();
        let program = std::env::current_exe()?;
        Ok(Self {
            program,
            dir,
            scale,
            peers,
            workloads,
            too_slow: Vec::new(),
            disks: Vec::new(),
            log,
        })
    }

    pub fn run(&mut self) -> Result {
        let about = json!({
            "machine": machine::describe(&self.dir),
            "scale": {
                "reps": self.scale.reps,
                "prepared": self.scale.prepared,
                "long": self.scale.long,
                "many": self.scale.many,
                "paced": self.scale.paced,
                "filled": self.scale.filled,
                "latency": self.scale.latency,
                "mixed": self.scale.mixed,
                "limit_ms": self.scale.limit_ms,
            },
        });
        self.record(&about)?;
        self.record_calm("before")?;
        let mut stores = Vec::new();
        for about in self.peers.clone() {
            let usual = Store::ALL.into_iter().filter(|store| *store != Store::Large);
            stores.extend(
                usual.filter(|&store| self.wants(about, store)).map(|store| (about, store)),
            );
        }
        self.fill(stores)?;
        for rep in 0..self.scale.reps {
            for workload in self.workloads.clone() {
                for about in self.peers.clone() {
                    if workload.fits(about.can) && workload.store() != Some(Store::Large) {
                        self.measure(about, workload, rep)?;
                    }
                }
            }
            self.record_calm(&format!("after repetition {}", rep + 1))?;
        }
        self.run_large()
    }

    /// One peer after the other: all their stores at once would take tens of GB.
    fn run_large(&mut self) -> Result {
        for about in self.peers.clone() {
            if !self.wants(about, Store::Large) {
                continue;
            }
            self.fill(vec![(about, Store::Large)])?;
            for rep in 0..self.scale.reps {
                self.measure(about, Workload::OpenLarge, rep)?;
            }
            fs::remove_dir_all(self.store_dir(about, Store::Large))?;
        }
        Ok(())
    }

    /// Whether any workload of this run reads a store of a peer.
    fn wants(&self, about: &About, store: Store) -> bool {
        let reads =
            |workload: &Workload| workload.store() == Some(store) && workload.fits(about.can);
        self.workloads.iter().any(reads)
    }

    fn store_dir(&self, about: &About, store: Store) -> PathBuf {
        self.dir.join(format!("{}-{}", store.name(), about.name))
    }

    /// Events of a store that is filled beforehand.
    fn events_of(&self, store: Store) -> u64 {
        match store {
            Store::Scattered => self.scale.prepared,
            Store::Long => self.scale.long,
            Store::Many => self.scale.many,
            Store::Large => self.scale.many * LARGE,
        }
    }

    fn record(&mut self, line: &Value) -> Result {
        writeln!(self.log, "{line}")?;
        Ok(())
    }

    fn record_calm(&mut self, when: &str) -> Result {
        let calm = machine::calm(&self.dir)?;
        eprintln!(
            "{when}: load {:.2}, loop {:.1} ms, sync {:.0} µs",
            calm.load, calm.loop_ms, calm.sync_us
        );
        self.record(&json!({ "calm": calm.json(), "when": when }))
    }

    /// A fresh directory of a name.
    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Fills stores that are measured in each repetition: as many at once as there are cores, since
    /// this is not measured.
    fn fill(&mut self, stores: Vec<(&'static About, Store)>) -> Result {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut waiting = stores.into_iter();
        let mut running: Vec<Filling> = Vec::new();
        loop {
            while running.len() < cores
                && let Some((about, store)) = waiting.next()
            {
                let dir = self.store_dir(about, store);
                fs::create_dir_all(&dir)?;
                let (task, events) = (format!("fill-{}", store.name()), self.events_of(store));
                let child = self.start(about, &task, &dir, events, PATIENCE_FILLING)?;
                running.push(Filling { about, store, task, dir, child, started: Instant::now() });
            }
            if running.is_empty() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
            let mut at = 0;
            while at < running.len() {
                let filling = &mut running[at];
                let late = filling.started.elapsed() > PATIENCE_FILLING;
                if late || filling.child.try_wait()?.is_some() {
                    let filling = running.swap_remove(at);
                    self.filled(filling)?;
                } else {
                    at += 1;
                }
            }
        }
    }

    /// Takes note of a store that is filled, or is not going to be.
    fn filled(&mut self, mut filling: Filling) -> Result {
        let figures = finish(&mut filling.child, Duration::ZERO);
        let (name, task) = (filling.about.name, &filling.task);
        eprintln!("{task} {name}: {:.1} s", filling.started.elapsed().as_secs_f64());
        if filling.store == Store::Scattered {
            self.disks.push((name, machine::disk(&filling.dir)?));
        }
        if let Err(error) = figures {
            self.record(&json!({ "peer": name, "task": task, "error": error.to_string() }))?;
        }
        Ok(())
    }

    fn start(
        &self,
        about: &About,
        task: &str,
        dir: &Path,
        count: u64,
        limit: Duration,
    ) -> Result<Child> {
        let child = Command::new(&self.program)
            .args(["--child", about.name, task])
            .arg(dir)
            .args([count.to_string(), limit.as_millis().to_string(), "1".to_owned()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(child)
    }

    fn measure(&mut self, about: &'static About, workload: Workload, rep: usize) -> Result {
        if workload == Workload::Paced && self.too_slow.contains(&about.name) {
            return Ok(());
        }
        let limit = Duration::from_millis(self.scale.limit_ms);
        let started = Instant::now();
        let mut result = match (workload, workload.store()) {
            (_, Some(store)) => {
                let (dir, events) = (self.store_dir(about, store), self.events_of(store));
                let child = self.start(about, workload.name(), &dir, events, limit);
                child.and_then(|mut child| finish(&mut child, PATIENCE))
            }
            (Workload::OpenKilled, None) => self.open_killed(about),
            _ => self.measure_fresh(about, workload, limit),
        };
        if workload == Workload::Open
            && let Ok(Value::Object(figures)) = &mut result
            && let Some((_, (allocated, used))) =
                self.disks.iter().find(|(name, _)| *name == about.name)
        {
            let events = self.scale.prepared as f64;
            figures.insert("disk_used".into(), json!(*used as f64 / events));
            figures.insert("disk_spare".into(), json!(allocated.saturating_sub(*used)));
        }
        let line = match result {
            Ok(figures) => {
                if figures["held"] == 0.0 {
                    self.too_slow.push(about.name);
                }
                json!({ "peer": about.name, "workload": workload.name(), "rep": rep, "figures": figures })
            }
            Err(error) => {
                eprintln!("{} {}: {error}", workload.name(), about.name);
                json!({ "peer": about.name, "workload": workload.name(), "rep": rep, "error": error.to_string() })
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        eprintln!("{} {} {}: {seconds:.1} s", rep + 1, workload.name(), about.name);
        self.record(&line)
    }

    /// A measurement that begins with an empty directory.
    fn measure_fresh(&self, about: &About, workload: Workload, limit: Duration) -> Result<Value> {
        let dir = self.fresh("fresh")?;
        // Enough for a bare loop, and little enough that the system need not write back meanwhile.
        let most = |count: u64| count * self.scale.appended_percent / 100;
        let (count, limit) = match workload {
            Workload::Durable1 => (most(100_000), limit),
            Workload::Durable16 => (most(400_000), limit),
            Workload::Durable100 | Workload::Submit | Workload::Buffered1 | Workload::Buffered4 => {
                (most(1_000_000), limit)
            }
            Workload::Buffered1000 => (most(2_000_000), limit),
            Workload::Mixed => (self.scale.mixed, limit),
            Workload::Paced => (self.scale.paced, limit),
            _ => (self.scale.latency, Duration::from_millis(self.scale.latency_limit_ms)),
        };
        let mut child = self.start(about, workload.name(), &dir, count, limit)?;
        let mut figures = finish(&mut child, PATIENCE)?;
        if workload == Workload::Latency
            && let Value::Object(figures) = &mut figures
            && let Some(events) = figures.get("events").and_then(Value::as_f64)
        {
            let (allocated, used) = machine::disk(&dir)?;
            figures.insert("disk_used".into(), json!(used as f64 / events));
            figures.insert("disk_spare".into(), json!(allocated.saturating_sub(used)));
        }
        fs::remove_dir_all(dir)?;
        Ok(figures)
    }

    /// A process fills a store and is killed; another opens it.
    fn open_killed(&self, about: &About) -> Result<Value> {
        let dir = self.fresh("killed")?;
        let mut child = self.start(about, "fill", &dir, self.scale.filled, PATIENCE)?;
        let mut filled = false;
        if let Some(out) = child.stdout.take() {
            let mut lines = BufReader::new(out).lines();
            filled = lines.any(|line| line.is_ok_and(|line| line.starts_with('{')));
        }
        child.kill()?;
        child.wait()?;
        if !filled {
            return Err("the store could not be filled".into());
        }
        let limit = Duration::from_millis(self.scale.limit_ms);
        let mut child = self.start(about, "open-killed", &dir, 0, limit)?;
        let figures = finish(&mut child, PATIENCE)?;
        fs::remove_dir_all(dir)?;
        Ok(figures)
    }
}

/// Waits for a child, at most for the given time, and returns its output.
fn finish(child: &mut Child, patience: Duration) -> Result<Value> {
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > patience {
            child.kill()?;
            child.wait()?;
            return Err("it took too long".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let (mut out, mut err) = (String::new(), String::new());
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut out)?;
    }
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_string(&mut err)?;
    }
    if !status.success() {
        return Err(format!("it failed: {}", err.trim()).into());
    }
    // A peer may print other lines before.
    let line = out.lines().rev().find(|line| line.starts_with('{')).ok_or("it printed nothing")?;
    Ok(serde_json::from_str(line)?)
}

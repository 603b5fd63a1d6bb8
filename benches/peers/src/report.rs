//! From lines of JSON to the Markdown table: medians, versions, settings, targets.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::peer::{About, Result};
use crate::peers;
use crate::targets;
use crate::workload::{ROWS, Row, Unit, Workload};

/// The results of a run, by peer, workload and metric.
#[derive(Default)]
pub struct Results {
    values: BTreeMap<(String, String, String), Vec<f64>>,
    errors: Vec<String>,
    machine: Value,
    scale: Value,
    calm: Vec<Value>,
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

impl Results {
    pub fn parse(text: &str) -> Result<Self> {
        let mut results = Self::default();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line)?;
            if let Some(machine) = line.get("machine") {
                results.machine = machine.clone();
                results.scale = line["scale"].clone();
            } else if line.get("calm").is_some() {
                results.calm.push(line);
            } else if let Some(error) = line.get("error").and_then(Value::as_str) {
                let task = line["workload"].as_str().or(line["task"].as_str()).unwrap_or_default();
                let peer = line["peer"].as_str().unwrap_or_default();
                results.errors.push(format!("{peer}, {task}: {}", error.replace('\n', " ")));
            } else if let (Some(peer), Some(workload), Some(figures)) =
                (line["peer"].as_str(), line["workload"].as_str(), line["figures"].as_object())
            {
                for (metric, value) in figures {
                    let key = (peer.to_owned(), workload.to_owned(), metric.clone());
                    let value = value.as_f64().ok_or("a figure is not a number")?;
                    results.values.entry(key).or_default().push(value);
                }
            }
        }
        Ok(results)
    }

    /// The median of the repetitions.
    pub fn get(&self, peer: &str, workload: Workload, metric: &str) -> Option<f64> {
        let key = (peer.to_owned(), workload.name().to_owned(), metric.to_owned());
        self.values.get(&key).map(|values| median(&mut values.clone()))
    }

    /// The peers that have any figure, in the order of the table.
    pub fn peers(&self) -> Vec<&'static About> {
        let present = |about: &&About| self.values.keys().any(|(peer, ..)| peer == about.name);
        peers::all().into_iter().filter(present).collect()
    }

    /// The fastest store that is not annals, and its rate.
    pub fn best(&self, workload: Workload) -> Option<(&'static str, f64)> {
        let stores = self.peers().into_iter().filter(|about| about.is_other_store());
        let rate = |about: &About| Some((about.name, self.get(about.name, workload, "rate")?));
        stores.filter_map(rate).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// How far apart the repetitions of a cell are at worst, as a ratio, and which cell that is.
    fn spread(&self) -> Option<(f64, String)> {
        let rates = self.values.iter().filter(|((.., metric), _)| metric == "rate");
        rates
            .map(|((peer, workload, _), values)| {
                let most = values.iter().copied().fold(f64::MIN, f64::max);
                let least = values.iter().copied().fold(f64::MAX, f64::min);
                (most / least, format!("{workload} of {peer}"))
            })
            .max_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// All results as Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.table(&mut out);
        out.push_str("\n### Targets\n\n");
        out.push_str(&targets::markdown(self));
        self.settings(&mut out);
        self.circumstances(&mut out);
        out
    }

    fn table(&self, out: &mut String) {
        let peers = self.peers();
        out.push_str("| 256-byte events |");
        for about in &peers {
            let _ = write!(out, " {} |", about.title);
        }
        let _ = writeln!(out, "\n|---|{}", "---:|".repeat(peers.len()));
        for row in ROWS {
            let cells: Vec<String> = peers.iter().map(|about| self.cell(about, row)).collect();
            if cells.iter().any(|cell| cell != "–") {
                let _ = writeln!(out, "| {} | {} |", row.title, cells.join(" | "));
            }
        }
        out.push_str(
            "\nRates are events in a second (streams in a second for streams, look-ups in a second \
             for versions and newest events); a dash is something the peer does not have. At a \
             fixed rate, \"only\" is the rate of a peer that cannot hold it. Latencies of \"append\" are buffered where the peer has that, \
             and durable otherwise. Bytes per event count blocks of 4 KiB that hold anything but \
             zeros, over all files, after a clean close; space that is allocated beyond that is \
             told below.\n",
        );
    }

    fn cell(&self, about: &About, row: &Row) -> String {
        if let Some(rate) = self.too_slow(about, row.workload) {
            return format!("only {}", format_value(rate, Unit::Rate));
        }
        self.get(about.name, row.workload, row.metric)
            .map_or_else(|| "–".to_owned(), |value| format_value(value, row.unit))
    }

    /// The rate of a peer that could not hold the one of its workload in every repetition.
    fn too_slow(&self, about: &About, workload: Workload) -> Option<f64> {
        let held = (about.name.to_owned(), workload.name().to_owned(), "held".to_owned());
        let failed = self.values.get(&held)?.contains(&0.0);
        failed.then(|| self.get(about.name, workload, "rate")).flatten()
    }

    fn settings(&self, out: &mut String) {
        out.push_str("\n### Peers, versions and settings\n\n");
        out.push_str("| peer | version | durable | buffered | layout and settings | does less |\n");
        out.push_str("|---|---|---|---|---|---|\n");
        for about in self.peers() {
            let mut version = crate::versions::of(about.package).unwrap_or("–").to_owned();
            if !about.package.is_empty() {
                version = format!("{} {version}", about.package);
            }
            if let Some(engine) = about.engine {
                let _ = write!(version, ", {}", engine());
            }
            let or = |text: &'static str, other| if text.is_empty() { other } else { text };
            let _ = writeln!(
                out,
                "| {} | {version} | {} | {} | {} | {} |",
                about.title,
                or(about.durable, "does not have it"),
                or(about.buffered, "does not have it"),
                about.layout,
                or(about.less, "–"),
            );
        }
    }

    fn circumstances(&self, out: &mut String) {
        out.push_str("\n### Circumstances\n\n");
        for (key, what) in [
            ("kernel", "kernel"),
            ("cpu", "processor"),
            ("cores", "cores"),
            ("memory", "memory"),
            ("file_system", "file system"),
        ] {
            let value = self.machine[key].to_string();
            let _ = writeln!(out, "- {what}: {}", value.trim_matches('"'));
        }
        let _ = writeln!(out, "- scale: `{}`", self.scale);
        let each = |about: &&About| self.get(about.name, Workload::Streams, "events_each");
        if let Some(each) = self.peers().iter().find_map(each) {
            let _ = writeln!(out, "- events of a stream that was read: {each:.0}");
        }
        for about in self.peers() {
            let spare = |workload| self.get(about.name, workload, "disk_spare");
            if let Some(spare) = spare(Workload::Open).filter(|&spare| spare > 1e6) {
                let megabytes = spare / 1e6;
                let _ = writeln!(out, "- {}: {megabytes:.0} MB allocated in advance", about.title);
            }
        }
        for line in &self.calm {
            let calm = &line["calm"];
            let number = |key: &str| calm[key].as_f64().unwrap_or(f64::NAN);
            let _ = writeln!(
                out,
                "- the machine {}: load {:.2}, a fixed loop {:.1} ms, a synced write {:.0} µs",
                line["when"].as_str().unwrap_or_default(),
                number("load"),
                number("loop_ms"),
                number("sync_us"),
            );
        }
        let loops: Vec<f64> =
            self.calm.iter().filter_map(|line| line["calm"]["loop_ms"].as_f64()).collect();
        let most = loops.iter().copied().fold(f64::MIN, f64::max);
        let least = loops.iter().copied().fold(f64::MAX, f64::min);
        let load = self.calm.first().and_then(|line| line["calm"]["load"].as_f64());
        if most > least * 1.1 {
            out.push_str("- **not calm**: the fixed loop differed by more than a tenth\n");
        }
        if load.is_some_and(|load| load > 0.5) {
            out.push_str("- **not calm**: something else was running before\n");
        }
        if let Some((spread, cell)) = self.spread().filter(|(spread, _)| *spread > 1.0) {
            let _ = writeln!(out, "- widest spread of a rate: {spread:.2} times, {cell}");
        }
        for error in &self.errors {
            let _ = writeln!(out, "- failed: {error}");
        }
    }
}

/// Three significant digits, with a unit's prefix where that is shorter.
pub fn format_value(value: f64, unit: Unit) -> String {
    let short = |value: f64| match value.abs() {
        v if v >= 99.95 => format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    match unit {
        Unit::Rate if value >= 999_500.0 => format!("{} M", short(value / 1e6)),
        Unit::Rate if value >= 999.5 => format!("{} k", short(value / 1e3)),
        Unit::Rate | Unit::Share => short(value),
        Unit::Milliseconds => format!("{} ms", short(value)),
        Unit::Microseconds if value >= 999.5 => format!("{} ms", short(value / 1e3)),
        Unit::Microseconds => format!("{} µs", short(value)),
        Unit::Megabytes => format!("{} MB", short(value)),
        Unit::Bytes => format!("{value:.0} B"),
    }
}

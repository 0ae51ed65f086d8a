//! What the client measures itself with: `meter.py`, as far as throughput and latency use it. Clocks,
//! marks and the line of JSON are the same.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::Options;

/// Into so many parts the run is cut: what was reached is known even if the rest never comes.
const MARKS: usize = 20;
/// Without a part in this time the run is over, and its loss is told.
const STALL: Duration = Duration::from_secs(8);
/// The same before the first part.
const FIRST_STALL: Duration = Duration::from_secs(30);
/// Between two looks at whether the run has stalled.
const LOOK: Duration = Duration::from_millis(500);
const PERCENTILES: [&str; 12] = [
    "1", "5", "10", "25", "50", "75", "90", "95", "99", "99.5", "99.9", "99.99",
];

#[derive(Clone, Copy)]
struct Mark {
    count: usize,
    wall_ns: i64,
    cpu_ns: i64,
}

impl Mark {
    fn now(count: usize) -> Self {
        Self {
            count,
            wall_ns: monotonic_ns(),
            cpu_ns: clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID),
        }
    }
}

/// Counts messages.
pub struct Meter {
    count: usize,
    step: usize,
    /// When the client's own count gets here, it calls `reached`.
    pub mark: Cell<usize>,
    started: Cell<Option<Mark>>,
    latest: Cell<Mark>,
}

impl Meter {
    pub fn new(options: &Options) -> Self {
        Self {
            count: options.count,
            step: (options.count / MARKS).max(1),
            mark: Cell::new(options.warm_up),
            started: Cell::new(None),
            latest: Cell::new(Mark::now(0)),
        }
    }

    /// Note the time and set the next mark; after the last one, report and end.
    pub fn reached(&self, count: usize) {
        let now = Mark::now(count);
        self.latest.set(now);
        if self.started.get().is_none() {
            self.started.set(Some(now));
        }
        if count >= self.count {
            self.report();
        }
        self.mark.set(self.count.min(count + self.step));
    }

    /// Report and end when nothing comes any more.
    pub async fn watch(&self) {
        loop {
            let patience = if self.started.get().is_none() {
                FIRST_STALL
            } else {
                STALL
            };
            if monotonic_ns() - self.latest.get().wall_ns >= patience.as_nanos() as i64 {
                self.report();
            }
            sleep(LOOK).await;
        }
    }

    fn report(&self) -> ! {
        let latest = self.latest.get();
        let first = self.started.get().unwrap_or(latest);
        end(&json!({
            "messages": latest.count - first.count,
            "wall_s": seconds(latest.wall_ns - first.wall_ns),
            "cpu_s": seconds(latest.cpu_ns - first.cpu_ns),
            "missing": self.count - latest.count,
        }))
    }
}

/// Times from when a message should have been sent until the client has it, decoded.
pub struct Latencies {
    values: RefCell<Vec<i64>>,
    count: usize,
    warm_up: usize,
    began: Cell<Option<Mark>>,
}

impl Latencies {
    pub fn new(options: &Options) -> Self {
        Self {
            values: RefCell::new(Vec::with_capacity(options.count)),
            count: options.count,
            warm_up: options.warm_up,
            began: Cell::new(None),
        }
    }

    /// For each message, with the time that it carries.
    pub fn take(&self, scheduled_ns: i64) {
        let taken = {
            let mut values = self.values.borrow_mut();
            values.push(monotonic_ns() - scheduled_ns);
            values.len()
        };
        if taken == self.warm_up {
            self.began.set(Some(Mark::now(taken)));
        }
        if taken == self.count {
            self.report();
        }
    }

    /// Report and end when nothing comes any more.
    pub async fn watch(&self) {
        let mut before = 0;
        loop {
            sleep(STALL).await;
            let taken = self.values.borrow().len();
            if taken == before && taken > 0 {
                self.report();
            }
            before = taken;
        }
    }

    fn report(&self) -> ! {
        let now = Mark::now(0);
        let mut values = self.values.borrow_mut();
        let missing = self.count - values.len();
        // Of a run that stalled at its end, most of the time was waiting for the rest.
        let core_share =
            self.began.get().filter(|_| missing == 0).map(|began| {
                (now.cpu_ns - began.cpu_ns) as f64 / (now.wall_ns - began.wall_ns) as f64
            });
        let counted = self.warm_up.min(values.len());
        let values = &mut values[counted..];
        values.sort_unstable();
        let last = values.len().saturating_sub(1);
        let percentiles: Map<String, Value> = PERCENTILES
            .iter()
            .filter(|_| !values.is_empty())
            .map(|name| {
                let share: f64 = name.parse().expect("a number");
                let index = (values.len() as f64 * share / 100.0) as usize;
                (
                    name.to_string(),
                    microseconds(values[index.min(last)]).into(),
                )
            })
            .collect();
        end(&json!({
            "messages": values.len(),
            "missing": missing,
            "core_share": core_share,
            "percentiles_us": percentiles,
            "max_us": values.last().map(|&value| microseconds(value)),
        }))
    }
}

/// The clock of the schedule in the messages.
fn monotonic_ns() -> i64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

fn clock_ns(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes to the struct that it is given and keeps no pointer to it.
    let failed = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(failed, 0, "no such clock");
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

fn microseconds(ns: i64) -> f64 {
    ns as f64 / 1e3
}

/// Print the result and end, without closing anything.
fn end(result: &Value) -> ! {
    let mut output = std::io::stdout().lock();
    let written = writeln!(output, "\n{result}").and_then(|()| output.flush());
    std::process::exit(written.is_err().into())
}

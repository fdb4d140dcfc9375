//! The numbers of one server. No number is split by workspace, member or record: their count has no bound,
//! and who works when is nobody's business.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::identity::IdentityNumbers;

/// Sync connections that are open now.
pub const CONNECTIONS: &str = "fieldbook_connections";
/// Requests for a sync connection that were refused, for whatever reason.
pub const CONNECTIONS_REFUSED: &str = "fieldbook_connections_refused_total";
/// Connections cut to make room for another, before they had said who they are.
pub const HANDSHAKES_CUT: &str = "fieldbook_handshakes_cut_total";
/// Frames received.
pub const FRAMES_IN: &str = "fieldbook_frames_in_total";
/// Bytes of messages received.
pub const BYTES_IN: &str = "fieldbook_bytes_in_total";
/// Bytes of messages sent.
pub const BYTES_OUT: &str = "fieldbook_bytes_out_total";
/// Batches accepted.
pub const BATCHES_ACCEPTED: &str = "fieldbook_batches_accepted_total";
/// Batches refused.
pub const BATCHES_REFUSED: &str = "fieldbook_batches_refused_total";
/// Seconds that one storage transaction took, however many batches it held.
pub const COMMIT_SECONDS: &str = "fieldbook_commit_seconds";
/// Pages sent.
pub const PAGES_SENT: &str = "fieldbook_pages_sent_total";
/// Devices sent away since they stand beyond the end of the log: it was put back to an older state.
pub const HELLOS_AHEAD: &str = "fieldbook_hellos_ahead_total";
/// Connections closed because their device did not read in time.
pub const SLOW_CONSUMERS_CLOSED: &str = "fieldbook_slow_consumers_closed_total";
/// Sessions ended because their member used more than one member may.
pub const RATE_LIMITED: &str = "fieldbook_rate_limited_total";
/// Panics of a workspace's thread; it was begun anew from its file.
pub const WORKSPACE_PANICS: &str = "fieldbook_workspace_panics_total";
/// Batches refused because judging them had panicked twice.
pub const BATCHES_POISONED: &str = "fieldbook_batches_poisoned_total";

/// The numbers of one server; clones count into the same ones.
#[derive(Clone)]
pub struct Metrics {
    /// [`CONNECTIONS`]
    pub connections: Gauge,
    /// [`CONNECTIONS_REFUSED`]
    pub connections_refused: Counter,
    /// [`HANDSHAKES_CUT`]
    pub handshakes_cut: Counter,
    /// [`FRAMES_IN`]
    pub frames_in: Counter,
    /// [`BYTES_IN`]
    pub bytes_in: Counter,
    /// [`BYTES_OUT`]
    pub bytes_out: Counter,
    /// [`BATCHES_ACCEPTED`]
    pub batches_accepted: Counter,
    /// [`BATCHES_REFUSED`]
    pub batches_refused: Counter,
    /// [`PAGES_SENT`]
    pub pages_sent: Counter,
    /// [`HELLOS_AHEAD`]
    pub hellos_ahead: Counter,
    /// [`SLOW_CONSUMERS_CLOSED`]
    pub slow_consumers_closed: Counter,
    /// [`RATE_LIMITED`]
    pub rate_limited: Counter,
    /// [`WORKSPACE_PANICS`]
    pub workspace_panics: Counter,
    /// [`BATCHES_POISONED`]
    pub batches_poisoned: Counter,
    /// What identity counts.
    pub identity: IdentityNumbers,
    commit_seconds: Histogram,
    commits: Arc<AtomicU64>,
    page: PrometheusHandle,
}

impl Metrics {
    /// Numbers that start at zero.
    #[must_use]
    pub fn new() -> Self {
        let recorder = recorder().expect("the buckets below are a list that is not empty");
        let counter = |name, help: &'static str| {
            recorder.describe_counter(name_of(name), None, help.into());
            recorder.register_counter(&Key::from_static_name(name), &HERE)
        };
        recorder.describe_gauge(name_of(CONNECTIONS), None, "open sync connections".into());
        let labelled = |name, label: Option<(&'static str, &'static str)>| {
            let label = label.map(|(key, value)| Label::from_static_parts(key, value));
            recorder.register_counter(
                &Key::from_parts(name, label.into_iter().collect::<Vec<_>>()),
                &HERE,
            )
        };
        let seconds = Some(Unit::Seconds);
        recorder.describe_histogram(name_of(COMMIT_SECONDS), seconds, "one transaction".into());
        Self {
            connections: recorder.register_gauge(&Key::from_static_name(CONNECTIONS), &HERE),
            connections_refused: counter(CONNECTIONS_REFUSED, "refused requests for sync"),
            handshakes_cut: counter(HANDSHAKES_CUT, "handshakes cut to make room"),
            frames_in: counter(FRAMES_IN, "frames received"),
            bytes_in: counter(BYTES_IN, "bytes of messages received"),
            bytes_out: counter(BYTES_OUT, "bytes of messages sent"),
            batches_accepted: counter(BATCHES_ACCEPTED, "batches accepted"),
            batches_refused: counter(BATCHES_REFUSED, "batches refused"),
            pages_sent: counter(PAGES_SENT, "pages sent"),
            hellos_ahead: counter(HELLOS_AHEAD, "devices beyond the end of the log"),
            slow_consumers_closed: counter(SLOW_CONSUMERS_CLOSED, "slow consumers closed"),
            rate_limited: counter(RATE_LIMITED, "sessions ended for using too much"),
            workspace_panics: counter(WORKSPACE_PANICS, "workspaces begun anew after a panic"),
            batches_poisoned: counter(BATCHES_POISONED, "batches refused after panics"),
            identity: IdentityNumbers::new(labelled),
            commit_seconds: recorder
                .register_histogram(&Key::from_static_name(COMMIT_SECONDS), &HERE),
            commits: Arc::default(),
            page: recorder.handle(),
        }
    }

    /// One storage transaction took this long.
    pub fn commit_took(&self, duration: Duration) {
        self.commit_seconds.record(duration.as_secs_f64());
        // Single values are kept until they are folded into buckets, which otherwise only a scrape does.
        if self.commits.fetch_add(1, Ordering::Relaxed).is_multiple_of(COMMITS_PER_UPKEEP) {
            self.page.run_upkeep();
        }
    }

    /// All numbers, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.page.render()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let commits = Matcher::Full(COMMIT_SECONDS.to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(commits, COMMIT_BUCKETS_S)?;
    Ok(builder.build_recorder())
}

fn name_of(name: &'static str) -> metrics::KeyName {
    metrics::KeyName::from_const_str(name)
}

static HERE: Metadata<'static> =
    Metadata::new(module_path!(), metrics::Level::INFO, Some(module_path!()));
/// From a commit on a fast disk to one that somebody will complain about, seconds.
const COMMIT_BUCKETS_S: &[f64] =
    &[0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];
/// How many single values may pile up: 8 kB of them.
const COMMITS_PER_UPKEEP: u64 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_on_the_page_under_its_name_before_anything_happened() {
        let metrics = Metrics::new();
        metrics.commit_took(Duration::from_millis(3));
        let page = metrics.render();
        for name in [
            CONNECTIONS,
            CONNECTIONS_REFUSED,
            HANDSHAKES_CUT,
            FRAMES_IN,
            BYTES_IN,
            BYTES_OUT,
            BATCHES_ACCEPTED,
            BATCHES_REFUSED,
            PAGES_SENT,
            HELLOS_AHEAD,
            SLOW_CONSUMERS_CLOSED,
            RATE_LIMITED,
            WORKSPACE_PANICS,
            BATCHES_POISONED,
        ] {
            assert!(page.lines().any(|line| line == format!("{name} 0")), "{name} in\n{page}");
        }
        assert!(page.contains("fieldbook_commit_seconds_bucket{le=\"0.005\"} 1"), "{page}");
    }

    #[test]
    fn two_servers_in_one_process_count_apart() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.frames_in.increment(3);
        assert!(one.render().contains("fieldbook_frames_in_total 3"));
        assert!(other.render().contains("fieldbook_frames_in_total 0"));
    }
}

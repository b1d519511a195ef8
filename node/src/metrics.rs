//! Metrics of the whole node: registers every package's descriptions and installs the recorder that the ops port shows.
//!
//! Not here: what is counted, which stands in each package's `metrics.rs`.

use anyhow::Context as _;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Buckets of durations in seconds, from a small commit to a long restore.
const SECONDS: [f64; 14] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0, 300.0];

/// Installs the recorder and describes all metrics.
pub fn install() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&SECONDS)
        .context("our own buckets are not empty")?
        .install_recorder()
        .context("metrics are recorded already")?;
    strongroom_chunks::metrics::describe();
    strongroom_identity::metrics::describe();
    strongroom_peers::metrics::describe();
    strongroom_consensus::metrics::describe();
    strongroom_service::metrics::describe();
    strongroom_api::metrics::describe();
    Ok(handle)
}

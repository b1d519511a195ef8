//! Reading a node's `/metrics` in Prometheus text format: enough for `demo`.

use std::net::SocketAddr;

use crate::processes::http_get;

/// The sum over all label sets of a metric at a node; a node that does not answer counts nothing.
pub async fn sum_of(ops: SocketAddr, metric: &str) -> f64 {
    let answer = http_get(ops, "/metrics").await.unwrap_or_default();
    sum_in(&answer, metric)
}

/// The sum over several nodes.
pub async fn sum_over(nodes: impl IntoIterator<Item = SocketAddr>, metric: &str) -> f64 {
    let mut sum = 0.0;
    for ops in nodes {
        sum += sum_of(ops, metric).await;
    }
    sum
}

fn sum_in(text: &str, metric: &str) -> f64 {
    let value = |line: &str| -> Option<f64> {
        let rest = line.strip_prefix(metric)?;
        if !rest.starts_with(['{', ' ']) {
            return None;
        }
        rest.rsplit_once(' ')?.1.parse().ok()
    };
    text.lines().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_sets_are_summed_and_longer_names_left_out() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na_total_more 9\nb 1\n";
        assert_eq!(sum_in(text, "a_total"), 5.0);
        assert_eq!(sum_in(text, "b"), 1.0);
        assert_eq!(sum_in(text, "c"), 0.0);
    }
}

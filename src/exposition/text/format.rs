//! The formats that we write, and the choice between them.

/// A text format that Prometheus reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics1,
    /// OpenMetrics 0.0.1, the draft that older servers ask for: the same text under another name.
    OpenMetrics0,
    /// The classic text format, 0.0.4, which everything reads.
    Text,
}

impl Format {
    /// The `Content-Type` of an answer; Prometheus 3 fails a scrape whose type it does not know.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics1 => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::OpenMetrics0 => "application/openmetrics-text; version=0.0.1; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    pub(super) fn is_open_metrics(self) -> bool {
        self != Self::Text
    }
}

/// Chooses by an `Accept` header: the highest quality wins, the first of equals, and the classic text format
/// where nothing fits, since a scraper that asks oddly is still better served than refused.
pub fn negotiate(accept: Option<&str>) -> Format {
    let mut best = (Format::Text, 0);
    for range in accept.unwrap_or_default().split(',') {
        let Some((format, quality)) = read_range(range) else { continue };
        if quality > best.1 {
            best = (format, quality);
        }
    }
    best.0
}

/// Reads one media range as the format that it asks for and its quality in thousandths; `None` if it is none
/// of ours.
fn read_range(range: &str) -> Option<(Format, u16)> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?;
    let (mut version, mut quality) = ("", 1000);
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim().trim_matches('"');
        match key.trim() {
            key if key.eq_ignore_ascii_case("version") => version = value,
            key if key.eq_ignore_ascii_case("q") => quality = read_quality(value),
            _ => {}
        }
    }
    let is = |name: &str| media.eq_ignore_ascii_case(name);
    let format = match version {
        "1.0.0" if is("application/openmetrics-text") => Format::OpenMetrics1,
        // Without a version the draft is meant: so Prometheus' own library reads it.
        "" | "0.0.1" if is("application/openmetrics-text") => Format::OpenMetrics0,
        "" | "0.0.4" if is("text/plain") => Format::Text,
        "" if is("*/*") || is("text/*") => Format::Text,
        _ => return None,
    };
    Some((format, quality))
}

/// Thousandths; what cannot be read counts as zero, so that it never outranks what can.
fn read_quality(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1000.0).round() as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prometheus_asks_for_is_answered() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
            application/openmetrics-text;version=1.0.0;q=0.8";
        for accept in [prometheus_2, prometheus_3, native] {
            assert_eq!(negotiate(Some(accept)), Format::OpenMetrics1, "{accept}");
        }
    }

    #[test]
    fn the_highest_quality_wins() {
        let cases = [
            ("application/openmetrics-text;version=0.0.1", Format::OpenMetrics0),
            ("application/openmetrics-text", Format::OpenMetrics0),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8", Format::OpenMetrics1),
            ("text/plain;q=0.9, application/openmetrics-text;version=1.0.0;q=0.8", Format::Text),
            ("text/plain;q=0.8, application/openmetrics-text;version=1.0.0;q=0.9", Format::OpenMetrics1),
            ("text/plain, application/openmetrics-text;version=1.0.0", Format::Text),
            ("application/openmetrics-text;version=1.0.0;q=0", Format::Text),
        ];
        for (accept, format) in cases {
            assert_eq!(negotiate(Some(accept)), format, "{accept}");
        }
    }

    #[test]
    fn whatever_else_is_asked_gets_the_classic_text() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let odd =
            ["", ",;,", "*/*", browser, "application/openmetrics-text;version=2.0.0", "image/png;q=oops"];
        for accept in odd {
            assert_eq!(negotiate(Some(accept)), Format::Text, "{accept}");
        }
        assert_eq!(negotiate(Some("application/openmetrics-text;version=1.0.0;q=NaN")), Format::Text);
        assert_eq!(negotiate(None), Format::Text);
    }
}

//! A time in days or weeks after which something is done again, or that it is not.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// How often something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// Never.
    Off,
    /// Again after this time.
    Time(Duration),
}

impl<'de> Deserialize<'de> for Every {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EveryVisitor)
    }
}

struct EveryVisitor;

impl Visitor<'_> for EveryVisitor {
    type Value = Every;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a time such as \"7d\" or \"2 weeks\", or \"off\"")
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<Every, E> {
        if on { Err(E::invalid_type(serde::de::Unexpected::Bool(on), &self)) } else { Ok(Every::Off) }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Every, E> {
        let time = |text: &str| Duration::try_from(days(text.parse().ok()?)?).ok();
        match text {
            "off" => Ok(Every::Off),
            _ => time(text)
                .map(Every::Time)
                .ok_or_else(|| E::custom(format!("expected {}", &self as &dyn serde::de::Expected))),
        }
    }
}

/// A day has 24 hours and a week 7 days here, whatever the clocks do.
fn days(span: Span) -> Option<SignedDuration> {
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(value: &str) -> Result<Every, String> {
        #[derive(serde::Deserialize)]
        struct Document {
            every: Every,
        }
        let document: Result<Document, _> = toml::from_str(&format!("every = {value}"));
        document.map(|document| document.every).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn times_and_off_are_understood_and_nothing_else() {
        let hours = |n: u64| Ok(Every::Time(Duration::from_secs(n * 3600)));
        let cases = [
            ("\"7d\"", hours(168)),
            ("\"1 week\"", hours(168)),
            ("\"2w\"", hours(336)),
            ("\"1 day 12 hours\"", hours(36)),
            ("\"90min\"", Ok(Every::Time(Duration::from_secs(5400)))),
            ("\"off\"", Ok(Every::Off)),
            ("false", Ok(Every::Off)),
        ];
        for (value, expected) in cases {
            assert_eq!(every(value), expected, "{value}");
        }
        for value in ["\"1 month\"", "\"-3d\"", "\"soon\"", "\"\"", "true", "7"] {
            let error = every(value).unwrap_err();
            assert!(error.contains("expected a time such as \"7d\""), "{value}: {error}");
        }
    }
}

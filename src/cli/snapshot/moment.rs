//! Points in time as people type them: `2026-11-21T14:05`, `14:05`, `yesterday 18:00`, `2 hours ago`.
//!
//! A day means its end, a second its end, anything else exactly what it says; what has no offset is local time.
//! A time that a change of the clocks leaves out is taken as much later, one that it repeats is the first
//! (RFC 5545, 3.3.5; jiff calls it "compatible").

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::{Span, Timestamp, ToSpan, Zoned};

/// Why a text is no moment that a snapshot can be of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// It is no time at all.
    #[error("no time")]
    NoTime,
    /// It is still to come.
    #[error("{0} is in the future")]
    Future(String),
}

/// Reads where a stretch of time begins: a day at its beginning, a second at its own.
pub fn parse_beginning(text: &str, now: &Zoned) -> Result<Timestamp, MomentError> {
    match whole_day(text, now).and_then(|date| date.to_zoned(now.time_zone().clone()).ok()) {
        Some(day) if day <= *now => Ok(day.timestamp()),
        _ => parse(text, now).map(|moment| Timestamp::from_second(moment.as_second()).unwrap_or(moment)),
    }
}

/// Reads a point in time that is not after `now`, in the time zone of that.
pub fn parse(text: &str, now: &Zoned) -> Result<Timestamp, MomentError> {
    let moment = ago(text, now)
        .or_else(|| whole_day(text, now).and_then(|date| end_of_day(date, now)))
        .or_else(|| on_a_day(text, now))
        .or_else(|| last_time_it_was(text, now))
        .or_else(|| with_offset(text).or_else(|| local(text, now)).map(end_of_second));
    let moment = moment.ok_or(MomentError::NoTime)?;
    let begins = moment.timestamp().as_second();
    if begins > now.timestamp().as_second() {
        return Err(MomentError::Future(moment.strftime("%Y-%m-%d %H:%M:%S").to_string()));
    }
    Ok(moment.timestamp())
}

/// `2 hours ago`, `90min ago`, `1 day 3h ago`, `an hour ago`
fn ago(text: &str, now: &Zoned) -> Option<Zoned> {
    let text = text.trim().to_lowercase();
    let amount = text.strip_suffix("ago")?.trim_end();
    let one = amount.strip_prefix("an ").or_else(|| amount.strip_prefix("a "));
    let amount = one.map_or_else(|| amount.to_owned(), |unit| format!("1 {unit}"));
    let span: Span = amount.parse().ok()?;
    if span.is_negative() { None } else { now.checked_sub(span).ok() }
}

/// `yesterday`, `monday`, `2026-11-21`
fn whole_day(text: &str, now: &Zoned) -> Option<Date> {
    let text = text.trim();
    day(&text.to_lowercase(), now).or_else(|| text.parse().ok().filter(|_| text.len() == "2026-11-21".len()))
}

fn day(word: &str, now: &Zoned) -> Option<Date> {
    match word {
        "today" => Some(now.date()),
        "yesterday" => now.date().yesterday().ok(),
        word => now.date().nth_weekday(-1, weekday(word)?).ok(),
    }
}

/// `today 9:30`, `tue 18:00`
fn on_a_day(text: &str, now: &Zoned) -> Option<Zoned> {
    let text = text.trim().to_lowercase();
    let (word, clock) = text.split_once(char::is_whitespace)?;
    let moment = day(word, now)?.to_datetime(time(clock.trim())?);
    moment.to_zoned(now.time_zone().clone()).ok().map(end_of_second)
}

fn weekday(word: &str) -> Option<Weekday> {
    let names = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let at = names.iter().position(|name| word.len() >= 3 && name.starts_with(word))?;
    Weekday::from_monday_zero_offset(i8::try_from(at).ok()?).ok()
}

/// `14:05`, `9:30:15`
fn last_time_it_was(text: &str, now: &Zoned) -> Option<Zoned> {
    let time = time(text.trim())?;
    let on = |date: Date| date.to_datetime(time).to_zoned(now.time_zone().clone()).ok();
    let today = on(now.date())?;
    let last = if today.timestamp() <= now.timestamp() { today } else { on(now.date().yesterday().ok()?)? };
    Some(end_of_second(last))
}

fn time(text: &str) -> Option<Time> {
    let (hour, _) = text.split_once(':')?;
    let padded = if hour.len() == 1 { format!("0{text}") } else { text.to_owned() };
    if padded.contains(|c: char| !c.is_ascii_digit() && c != ':') { None } else { padded.parse().ok() }
}

/// The end of a day, or now while it lasts. A day to come stays one.
fn end_of_day(date: Date, now: &Zoned) -> Option<Zoned> {
    if date == now.date() {
        return Some(now.clone());
    }
    date.to_zoned(now.time_zone().clone()).ok()?.end_of_day().ok()
}

/// `2026-11-21T14:05:30Z`, `2026-11-21 14:05+01:00`
fn with_offset(text: &str) -> Option<Zoned> {
    let moment: Timestamp = text.trim().parse().ok()?;
    Some(moment.to_zoned(jiff::tz::TimeZone::UTC))
}

/// `2026-11-21T14:05`, `2026-11-21 14:05:30`
fn local(text: &str, now: &Zoned) -> Option<Zoned> {
    let local: DateTime = text.trim().parse().ok()?;
    local.to_zoned(now.time_zone().clone()).ok()
}

/// Snapshots are shown with seconds; the one that is shown with this second had been taken by then.
fn end_of_second(moment: Zoned) -> Zoned {
    match moment.subsec_nanosecond() {
        0 => moment.checked_add(999_999_999.nanoseconds()).unwrap_or(moment),
        _ => moment,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Saturday afternoon in Berlin.
    const NOW: &str = "2026-11-21T14:30:10.5+01:00[Europe/Berlin]";

    fn at(text: &str, now: &str) -> String {
        let now: Zoned = now.parse().unwrap();
        match parse(text, &now) {
            Err(error) => error.to_string(),
            Ok(moment) => {
                moment.to_zoned(now.time_zone().clone()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
            }
        }
    }

    #[test]
    fn a_stretch_begins_with_its_first_day() {
        let now: Zoned = NOW.parse().unwrap();
        let at = |text: &str| {
            let moment = parse_beginning(text, &now).unwrap().to_zoned(now.time_zone().clone());
            moment.strftime("%Y-%m-%d %H:%M:%S").to_string()
        };
        let cases = [
            ("today", "2026-11-21 00:00:00"),
            ("yesterday", "2026-11-20 00:00:00"),
            ("Friday", "2026-11-20 00:00:00"),
            ("2026-11-02", "2026-11-02 00:00:00"),
            ("14:05", "2026-11-21 14:05:00"),
            ("tue 18:00", "2026-11-17 18:00:00"),
        ];
        for (text, expected) in cases {
            assert_eq!(at(text), expected, "{text}");
        }
        assert!(matches!(parse_beginning("2026-11-22", &now), Err(MomentError::Future(_))));
    }

    #[test]
    fn times_are_read_as_people_type_them() {
        let cases = [
            ("2026-11-21T14:05:30+01:00", "2026-11-21 14:05:30.999"),
            ("2026-11-21T13:05:30Z", "2026-11-21 14:05:30.999"),
            ("2026-11-21T13:05:30.25Z", "2026-11-21 14:05:30.250"),
            ("2026-11-21T14:05", "2026-11-21 14:05:00.999"),
            ("2026-11-21 14:05", "2026-11-21 14:05:00.999"),
            (" 2026-11-21 14:05:30 ", "2026-11-21 14:05:30.999"),
            ("2026-11-19", "2026-11-19 23:59:59.999"),
            ("2026-11-21", "2026-11-21 14:30:10.500"),
            ("14:05", "2026-11-21 14:05:00.999"),
            ("9:30", "2026-11-21 09:30:00.999"),
            ("14:30:10", "2026-11-21 14:30:10.999"),
            ("18:00", "2026-11-20 18:00:00.999"),
            ("today", "2026-11-21 14:30:10.500"),
            ("today 9:30", "2026-11-21 09:30:00.999"),
            ("yesterday", "2026-11-20 23:59:59.999"),
            ("Yesterday 18:00", "2026-11-20 18:00:00.999"),
            ("friday", "2026-11-20 23:59:59.999"),
            ("sat", "2026-11-14 23:59:59.999"),
            ("monday 8:15", "2026-11-16 08:15:00.999"),
            ("2 hours ago", "2026-11-21 12:30:10.500"),
            ("90min ago", "2026-11-21 13:00:10.500"),
            ("3d ago", "2026-11-18 14:30:10.500"),
            ("1 week ago", "2026-11-14 14:30:10.500"),
            ("1 day, 3 hours ago", "2026-11-20 11:30:10.500"),
            ("an hour ago", "2026-11-21 13:30:10.500"),
            ("A day ago", "2026-11-20 14:30:10.500"),
        ];
        for (text, expected) in cases {
            assert_eq!(at(text, NOW), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_time_or_still_to_come_is_refused() {
        for text in [
            "",
            "ago",
            "2 hours",
            "in 2 hours",
            "-2 hours ago",
            "2 parsecs ago",
            "25:00",
            "14:05pm",
            "14",
            "mo",
            "someday",
            "yesterday noon",
            "2026-13-01",
            "2026-11-31T10:00",
            "web",
            "P1D",
            "T14:05",
        ] {
            assert_eq!(at(text, NOW), "no time", "{text:?}");
        }
        let cases = [
            ("2026-11-21 14:31", "2026-11-21 14:31:00 is in the future"),
            ("today 18:00", "2026-11-21 18:00:00 is in the future"),
            ("2026-11-22", "2026-11-22 23:59:59 is in the future"),
            ("2027-01-01T00:00:00Z", "2027-01-01 00:00:00 is in the future"),
        ];
        for (text, expected) in cases {
            assert_eq!(at(text, NOW), expected, "{text:?}");
        }
    }

    #[test]
    fn changes_of_the_clocks_are_minded() {
        // 2026-03-29 has no 02:30 in Berlin, and 2026-10-25 has two.
        let spring = "2026-03-29T12:00:00+02:00[Europe/Berlin]";
        assert_eq!(at("2:30", spring), "2026-03-29 03:30:00.999");
        assert_eq!(at("1 day ago", spring), "2026-03-28 12:00:00.000");
        assert_eq!(at("24 hours ago", spring), "2026-03-28 11:00:00.000");
        let autumn: Zoned = "2026-10-25T12:00:00+01:00[Europe/Berlin]".parse().unwrap();
        let first: Timestamp = "2026-10-25T00:30:00.999999999Z".parse().unwrap();
        assert_eq!(parse("2026-10-25 02:30", &autumn), Ok(first));
    }
}

//! The Azure LLM inference trace.

use sim_core::time::SimDuration;

use super::{Format, Trace, TraceRecord, plain, tokens, wrong};

pub(super) const HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";

/// Reads records; times count from the first one.
#[derive(Default)]
pub(super) struct Azure {
    first: Option<i128>,
}

impl Format for Azure {
    fn record(&mut self, line: &str, _: &mut Trace) -> Result<TraceRecord, String> {
        let mut columns = line.split(',');
        let (Some(time), Some(prompt), Some(output), None) =
            (columns.next(), columns.next(), columns.next(), columns.next())
        else {
            let count = line.split(',').count();
            return Err(format!("{count} columns: expected 3, {HEADER}"));
        };
        let expected = "a UTC time such as `2023-11-16 18:15:46.6805900`";
        let at = instant(time).ok_or_else(|| wrong("TIMESTAMP", time, expected))?;
        let first = *self.first.get_or_insert(at);
        let nanos = at.checked_sub(first).and_then(|nanos| u64::try_from(nanos).ok()).ok_or_else(|| {
            wrong(
                "TIMESTAMP",
                time,
                "a time not before that of the first record and at most 584 years after it",
            )
        })?;
        let prompt = tokens("ContextTokens", prompt)?;
        let output = tokens("GeneratedTokens", output)?;
        Ok(plain(SimDuration::from_nanos(nanos), prompt, output))
    }
}

/// Nanoseconds since 1970 of `YYYY-MM-DD hh:mm:ss[.fraction]`, perhaps with `+00:00` or `Z` behind it.
fn instant(text: &str) -> Option<i128> {
    let text = text.strip_suffix("+00:00").or_else(|| text.strip_suffix('Z')).unwrap_or(text);
    let (date, time) = text.split_once([' ', 'T'])?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // A leap second is written as second 60.
    if !(1..=length).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = fraction.parse::<i64>().ok()? * 10i64.pow(9 - fraction.len() as u32);
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
}

/// Three numbers of so many digits.
fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Days from 1970-01-01 in the Gregorian calendar. Years begin in March, so that a leap day is the last
/// of its year; a month then begins after (153 m + 2) / 5 days.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days from 0000-03-01 to 1970-01-01.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_exact() {
        for (text, nanos) in [
            ("1970-01-01 00:00:00", 0),
            ("1970-01-01 00:00:00.0000001", 100),
            ("2000-02-29 12:00:00", 951_825_600_000_000_000),
            ("2023-11-16 18:15:46.6805900", 1_700_158_546_680_590_000),
            ("2024-05-10 00:00:00.009930+00:00", 1_715_299_200_009_930_000),
            ("2024-12-31T23:59:59Z", 1_735_689_599_000_000_000),
            ("1969-12-31 23:59:59", -1_000_000_000),
        ] {
            assert_eq!(instant(text), Some(nanos), "{text}");
        }
        for bad in [
            "",
            "2023-11-16",
            "2023-02-29 00:00:00",
            "2023-13-01 00:00:00",
            "2023-00-01 00:00:00",
            "2023-11-00 00:00:00",
            "2023-11-16 24:00:00",
            "2023-11-16 18:60:00",
            "2023-11-16 18:15:46.",
            "2023-11-16 18:15:46.1234567890",
            "2023-11-16 18:15:46+02:00",
            "+023-11-16 18:15:46",
            "12/08/2023 18:15:46",
        ] {
            assert_eq!(instant(bad), None, "{bad}");
        }
    }
}

//! Checks of single fields, and the list of everything found wrong.

use crate::{
    config::{ConfigError, OAuth, Span, document::RefreshDocument},
    policy::{Refresh, Retry, UnknownCertificate},
};
use std::{ops::RangeInclusive, time::Duration};

pub(super) const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

#[derive(Default)]
pub(super) struct Errors(pub Vec<ConfigError>);

impl Errors {
    pub fn add(&mut self, path: &str, message: impl Into<String>) {
        self.0.push(ConfigError::new(path, message));
    }

    pub fn check_span(&mut self, path: &str, value: Duration, range: RangeInclusive<Duration>) {
        if !range.contains(&value) {
            let (value, low, high) = (Span(value), Span(*range.start()), Span(*range.end()));
            self.add(path, format!("{value} is outside {low} to {high}"));
        }
    }

    /// A header the filter reads or writes: a token (RFC 9110, section 5.6.2) that no proxy gives another meaning.
    pub fn check_header(&mut self, path: &str, header: &str) {
        let token = header.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if header.is_empty() || !token {
            let near: String =
                header.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            let hint = match near.trim_matches('-') {
                "" => String::new(),
                near => format!("; `{near}` would be one"),
            };
            self.add(path, format!("`{header}` is not a header name of letters, digits and -{hint}"));
        } else if [
            "host",
            "authorization",
            "cookie",
            "connection",
            "content-length",
            "transfer-encoding",
            "te",
        ]
        .contains(&header)
        {
            self.add(path, format!("`{header}` has a meaning of its own; choose another header"));
        }
    }
}

pub(super) fn check_clusters(path: &str, api: Option<&String>, login: Option<&String>, errors: &mut Errors) {
    for (field, template) in [("api", api), ("login", login)] {
        let Some(template) = template else { continue };
        let path = format!("{path}.clusters.{field}");
        let rest = template.replace("{host}", "").replace("{region}", "");
        if template.is_empty() {
            errors.add(&path, "is empty: give the name of an Envoy cluster");
        } else if rest.contains(['{', '}']) {
            errors.add(
                &path,
                format!("`{template}`: only {{host}} and {{region}} are replaced in a cluster name"),
            );
        }
    }
}

pub(super) fn check_oauth(path: &str, id: Option<&String>, secret: Option<&String>, errors: &mut Errors) {
    for (field, variable) in [("client_id_env", id), ("client_secret_env", secret)] {
        if variable.is_some_and(|variable| !is_variable(variable)) {
            errors.add(
                &format!("{path}.oauth.{field}"),
                "is not the name of an environment variable (capital letters, digits and _); what it holds never \
                 stands in the configuration",
            );
        }
    }
}

pub(super) fn check_refresh(refresh: &RefreshDocument, errors: &mut Errors) -> Refresh {
    check_clusters("refresh", Some(&refresh.clusters.api), Some(&refresh.clusters.login), errors);
    if let OAuth::Environment(variables) = &refresh.oauth {
        check_oauth("refresh", Some(&variables.client_id_env), Some(&variables.client_secret_env), errors);
    }
    let second = Duration::from_secs(1);
    errors.check_span("refresh.interval", refresh.interval.0, second..=7 * DAY);
    errors.check_span("refresh.timeout", refresh.timeout.0, Duration::from_millis(100)..=60 * second);
    errors.check_span("refresh.retry.base", refresh.retry.base.0, Duration::from_millis(100)..=HOUR);
    errors.check_span("refresh.retry.max", refresh.retry.max.0, Duration::from_millis(100)..=DAY);
    let (base, max) = (&refresh.retry.base, &refresh.retry.max);
    if max.0 < base.0 {
        errors.add("refresh.retry.max", format!("{max} is below refresh.retry.base, {base}"));
    }
    errors.check_span("refresh.keep_removed", refresh.keep_removed.0, Duration::ZERO..=30 * DAY);
    if let Some(bound) = refresh.max_staleness.0 {
        errors.check_span("refresh.max_staleness", bound, second..=366 * DAY);
        // Both may be out of bounds themselves.
        let interval = refresh.interval.0.saturating_mul(100 + refresh.jitter.0) / 100;
        let between = Span(interval.saturating_add(refresh.timeout.0.saturating_mul(3)));
        if bound <= between.0 {
            let bound = Span(bound);
            errors.add(
                "refresh.max_staleness",
                format!(
                    "{bound} is not above {between}, the time between two refreshes that succeed slowly (interval, its jitter \
                     and timeout for each of three calls), so pins would lapse between them: give it several intervals"
                ),
            );
        }
    }
    let unknown = &refresh.on_unknown_certificate;
    errors.check_span("refresh.on_unknown_certificate.min_interval", unknown.min_interval.0, second..=DAY);
    errors.check_span("refresh.on_unknown_certificate.hold", unknown.hold.0, Duration::ZERO..=60 * second);
    if unknown.max_held > 10_000 {
        let message = format!("{} is outside 0 to 10000", unknown.max_held);
        errors.add("refresh.on_unknown_certificate.max_held", message);
    }
    Refresh {
        interval: refresh.interval.0,
        timeout: refresh.timeout.0,
        jitter: refresh.jitter.0,
        retry: Retry { base: base.0, max: max.0 },
        keep_removed: refresh.keep_removed.0,
        max_staleness: refresh.max_staleness.0,
        on_unknown_certificate: UnknownCertificate {
            min_interval: unknown.min_interval.0,
            hold: unknown.hold.0,
            max_held: usize::try_from(unknown.max_held).unwrap_or(usize::MAX),
        },
    }
}

pub(super) fn is_policy_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// What a policy's name could be, if it resembles one.
pub(super) fn near_policy_name(text: &str) -> Option<String> {
    let near = text.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let near: String = near.trim_matches('_').chars().take(32).collect();
    is_policy_name(&near).then_some(near)
}

pub(super) fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

pub(super) fn is_host(text: &str) -> bool {
    text.len() <= 253 && text.contains('.') && text.split('.').all(is_label)
}

/// Capital letters only: a secret that was put here by mistake is hardly ever like that, and names are logged.
fn is_variable(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

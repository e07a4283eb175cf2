//! `refresh`, and what a region sets differently from it.

use crate::{
    config::{
        checks::{DAY, HOUR, SECOND, duration, show},
        section::Section,
    },
    policy::{Refresh, Retry, UnknownCertificate},
};
use std::time::Duration;

const TENTH: Duration = Duration::from_millis(100);

/// How the API is reached: clusters in which `{host}` and `{region}` are yet to be replaced, and who authenticates.
#[derive(Clone)]
pub struct Access {
    pub api: String,
    pub login: String,
    pub client_id: String,
    pub client_secret: String,
    pub injected: bool,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            api: "genesys_api".to_owned(),
            login: "genesys_login".to_owned(),
            client_id: "GENESYS_CLIENT_ID".to_owned(),
            client_secret: "GENESYS_CLIENT_SECRET".to_owned(),
            injected: false,
        }
    }
}

#[inline(never)] // V8 takes more than twice as long for twice the function
pub fn refresh(root: &mut Section<'_>) -> (Refresh, Access) {
    let section = &mut root.object("refresh", "an object with `clusters`, `oauth` and so on");
    let access = access(section, Access::default());
    let refresh = Refresh {
        interval: section.duration("interval", HOUR, SECOND..=7 * DAY),
        timeout: section.duration("timeout", 5 * SECOND, TENTH..=60 * SECOND),
        jitter: percent(section, "jitter").unwrap_or(10),
        retry: retry(section.object("retry", "an object with `base` and `max`")),
        keep_removed: section.duration("keep_removed", DAY, Duration::ZERO..=30 * DAY),
        max_staleness: bound(section, "max_staleness"),
        on_unknown_certificate: unknown_certificate(
            section.object("on_unknown_certificate", "an object with `min_interval`, `hold` and `max_held`"),
        ),
    };
    check_staleness(section, &refresh);
    (refresh, access)
}

fn retry(mut section: Section<'_>) -> Retry {
    let base = section.duration("base", SECOND, TENTH..=HOUR);
    let max = section.duration("max", 300 * SECOND, TENTH..=DAY);
    if max < base {
        section.wrong("max", &format!("{} is below refresh.retry.base, {}", show(max), show(base)));
    }
    Retry { base, max }
}

fn unknown_certificate(mut section: Section<'_>) -> UnknownCertificate {
    UnknownCertificate {
        min_interval: section.duration("min_interval", 30 * SECOND, SECOND..=DAY),
        hold: section.duration("hold", 2 * SECOND, Duration::ZERO..=60 * SECOND),
        max_held: section.number("max_held", 64, 0..=10_000),
    }
}

/// A share such as `10%`.
fn percent(section: &mut Section<'_>, name: &'static str) -> Option<u32> {
    let value = section.take(name)?;
    section.parsed(name, value, "a share such as 10%", |text| {
        let number = text.strip_suffix('%').and_then(|digits| digits.parse().ok());
        let number = number.filter(|&percent| percent <= 50);
        number.ok_or_else(|| format!("`{text}` is not a share between 0% and 50%: write it like 10%"))
    })
}

/// `none`, or a duration.
fn bound(section: &mut Section<'_>, name: &'static str) -> Option<Duration> {
    let value = section.take(name)?;
    let bound = section.parsed(name, value, "`none`, or a duration such as 72h", |text| match text {
        "none" => Ok(None),
        text => duration(text)
            .map(Some)
            .map_err(|_| format!("`{text}` is neither `none` nor a duration such as 72h")),
    });
    Some(section.check_range(name, bound.flatten()?, SECOND..=366 * DAY))
}

fn check_staleness(section: &mut Section<'_>, refresh: &Refresh) {
    let Some(bound) = refresh.max_staleness else { return };
    // Both may be out of bounds themselves.
    let interval = refresh.interval.saturating_mul(100 + refresh.jitter) / 100;
    let between = interval.saturating_add(refresh.timeout.saturating_mul(3));
    if bound <= between {
        let message = format!(
            "{} is not above {}, the time between two refreshes that succeed slowly (interval, its jitter and timeout for \
             each of three calls), so pins would lapse between them: give it several intervals",
            show(bound),
            show(between)
        );
        section.wrong("max_staleness", &message);
    }
}

/// Reads `clusters` and `oauth` over what is already there, field by field.
pub fn access(section: &mut Section<'_>, mut access: Access) -> Access {
    let mut clusters = section.object("clusters", "an object with `api` and `login`");
    cluster(&mut clusters, "api", &mut access.api);
    cluster(&mut clusters, "login", &mut access.login);
    let Some(value) = section.take("oauth") else { return access };
    access.injected = value == "injected";
    if !access.injected {
        let expected = "`injected`, or an object with `client_id_env` and `client_secret_env`";
        if let Some(mut oauth) = section.nested("oauth", value, expected) {
            variable(&mut oauth, "client_id_env", &mut access.client_id);
            variable(&mut oauth, "client_secret_env", &mut access.client_secret);
            if access.client_id == access.client_secret {
                let message = "names the variable that is to hold the client id, which is public: give the secret its own";
                oauth.wrong("client_secret_env", message);
            }
        }
    }
    access
}

fn cluster(section: &mut Section<'_>, name: &'static str, cluster: &mut String) {
    let Some(template) = section.text(name) else { return };
    let rest = template.replace("{host}", "").replace("{region}", "");
    if template.is_empty() {
        section.wrong(name, "is empty: give the name of an Envoy cluster");
    } else if rest.contains(['{', '}']) {
        let message = format!("`{template}`: only {{host}} and {{region}} are replaced in a cluster name");
        section.wrong(name, &message);
    }
    *cluster = template;
}

/// Capital letters only: a secret that was put here by mistake is hardly ever like that, and names are logged.
fn variable(section: &mut Section<'_>, name: &'static str, variable: &mut String) {
    let Some(given) = section.text(name) else { return };
    let is_name = !given.is_empty()
        && !given.starts_with(|c: char| c.is_ascii_digit())
        && given.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if !is_name {
        section.wrong(
            name,
            "is not the name of an environment variable (capital letters, digits and _): give the variable's name, never \
             what it holds",
        );
    }
    *variable = given;
}

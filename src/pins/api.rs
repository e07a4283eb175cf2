//! Answers of `GET /api/v2/integrations/actions/certificates`.

use crate::{
    http::{Failure, FailureCode, HttpResponse, Upstream, json},
    time::UnixSeconds,
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The largest answer that is read, in bytes: some 500 certificates; two are usual.
pub const MAX_BODY: usize = 1024 * 1024;

/// Commas in one page, and so elements of its arrays. A VM never gives memory back, and `{}` takes many times its length.
const MAX_COMMAS: usize = 16 * 1024;

/// Path of the certificates call, without its query.
pub const PATH: &str = "/api/v2/integrations/actions/certificates";

/// One page of an answer.
#[derive(Debug, Default)]
pub struct Page {
    pub entities: Vec<Listed>,
    pub next_uri: Option<String>,
}

/// An entity, or the path of what cannot be read in it, such as `entities[1].type`.
pub type Listed = Result<Entity, String>;

/// One certificate as the API describes it. Every field may be missing or null; enumerations may have unknown values.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entity<Text = String> {
    pub signing_authority: Option<Text>,
    pub certificate: Option<Text>,
    #[serde(rename = "type")]
    pub kind: Option<Text>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPage<'a> {
    #[serde(borrow)]
    entities: Option<Vec<Option<&'a RawValue>>>,
    next_uri: Option<String>,
}

/// Reads one page.
pub fn page(response: &HttpResponse, wall: UnixSeconds) -> Result<Page, Failure> {
    let body = response.ok_body(Upstream::Api, MAX_BODY, wall)?;
    if body.split(|byte| *byte == b',').nth(MAX_COMMAS + 1).is_some() {
        let detail = "the answer has far more elements than there can be";
        return Err(Failure::new(FailureCode::ApiMalformed, detail));
    }
    let page: RawPage<'_> = json(body, FailureCode::ApiMalformed)?;
    let entities = page.entities.unwrap_or_default().into_iter().enumerate();
    let entities = entities.filter_map(|(index, raw)| Some(entity(index, raw?))).collect();
    Ok(Page { entities, next_uri: page.next_uri })
}

fn entity(index: usize, raw: &RawValue) -> Listed {
    let raw: Entity<&RawValue> = serde_json::from_str(raw.get()).map_err(|_| format!("entities[{index}]"))?;
    let text = |field: &str, raw: Option<&RawValue>| {
        let text = raw.map(|raw| serde_json::from_str(raw.get())).transpose();
        text.map_err(|_| format!("entities[{index}].{field}"))
    };
    Ok(Entity {
        signing_authority: text("signingAuthority", raw.signing_authority)?,
        certificate: text("certificate", raw.certificate)?,
        kind: text("type", raw.kind)?,
    })
}

/// The path of the next page. It has to be on the host that answered: the token goes there.
pub fn next_path(next_uri: &str, host: &str) -> Result<String, Failure> {
    let path = match next_uri.split_once("://") {
        None => Some(next_uri),
        Some((scheme, rest)) => rest
            .find('/')
            .and_then(|end| rest.split_at_checked(end))
            .filter(|(authority, _)| {
                let authority = authority.strip_suffix(":443").unwrap_or(authority);
                scheme.eq_ignore_ascii_case("https") && authority.eq_ignore_ascii_case(host)
            })
            .map(|(_, path)| path),
    };
    let is_allowed = |path: &&str| {
        let query = path.strip_prefix(PATH).map(|rest| rest.strip_prefix('/').unwrap_or(rest));
        query.is_some_and(|query| query.is_empty() || query.starts_with('?'))
            && path.len() <= 2048
            && path.bytes().all(|byte| byte.is_ascii_graphic())
    };
    path.filter(is_allowed).map(str::to_owned).ok_or_else(|| {
        let detail = "the answer's nextUri leads away from the certificates API";
        Failure::new(FailureCode::NextUriRefused, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_next_page_is_only_followed_on_the_same_host_and_path() {
        let host = "api.mypurecloud.com";
        let page = format!("{PATH}?status=Current&pageNumber=2");
        for uri in [
            page.clone(),
            format!("https://{host}{page}"),
            format!("https://{host}:443{page}"),
            format!("HTTPS://API.mypurecloud.com{page}"),
        ] {
            assert_eq!(next_path(&uri, host), Ok(page.clone()), "{uri}");
        }
        for uri in [
            format!("https://evil.example{page}"),
            format!("https://{host}.evil.example{page}"),
            format!("https://{host}@evil.example{page}"),
            format!("https://{host}:444{page}"),
            format!("https://{host}:443:443{page}"),
            format!("https://{host}@evil.example:443{page}"),
            format!("http://{host}{page}"),
            format!("//evil.example{page}"),
            format!("https://{host}"),
            "/api/v2/users".to_owned(),
            format!("{PATH}/../../users"),
            format!("{PATH}/truststore"),
            format!("{PATH}/%2e%2e/%2e%2e/users"),
            format!("{PATH}x"),
            format!("{PATH}?a=\r\nx: y"),
            format!("{PATH}?{}", "a".repeat(3000)),
            String::new(),
        ] {
            assert!(next_path(&uri, host).is_err(), "{uri}");
        }
    }

    fn read(body: &str) -> Result<Page, Failure> {
        page(&HttpResponse { status: 200, body: Some(body.as_bytes().to_vec()), retry_after: None }, 0)
    }

    #[test]
    fn pages_are_read_leniently_but_not_as_something_else() {
        assert_eq!(read("{}").unwrap().entities.len(), 0);
        assert_eq!(read(r#"{"entities":[{"status":"New","x":1},{}],"total":7}"#).unwrap().entities.len(), 2);
        let many = |commas: usize| format!(r#"{{"entities":[{{}}{}]}}"#, ",{}".repeat(commas));
        assert_eq!(read(&many(MAX_COMMAS)).unwrap().entities.len(), MAX_COMMAS + 1);
        assert_eq!(read(&many(MAX_COMMAS + 1)).unwrap_err().code, FailureCode::ApiMalformed);
        assert_eq!(read("\u{feff}{}").unwrap().entities.len(), 0);
        for body in
            ["", "[]x", "null x", "<html></html>", r#"{"entities":[{"certificate":"#, r#"{"entities":7}"#]
        {
            assert_eq!(read(body).unwrap_err().code, FailureCode::ApiMalformed, "{body}");
        }
    }

    #[test]
    fn one_odd_element_spoils_no_answer() {
        let good = r#"{"certificate":"x","type":null,"signingAuthority":"DigiCert"}"#;
        for (what, unreadable) in [
            ("null", None),
            (r#"{"certificate":null}"#, None),
            (r#"{"type":5}"#, Some("entities[1].type")),
            (r#"{"signingAuthority":{}}"#, Some("entities[1].signingAuthority")),
            (r#"{"certificate":[["x"]]}"#, Some("entities[1].certificate")),
            ("5", Some("entities[1]")),
            (r#""text""#, Some("entities[1]")),
            ("true", Some("entities[1]")),
        ] {
            let page = read(&format!(r#"{{"entities":[{good},{what},{good}],"nextUri":null}}"#)).unwrap();
            let readable = page.entities.iter().flatten().filter(|entity| entity.certificate.is_some());
            assert_eq!(readable.count(), 2, "{what}");
            let paths: Vec<&str> =
                page.entities.iter().filter_map(|entity| entity.as_ref().err().map(String::as_str)).collect();
            assert_eq!(paths, unreadable.into_iter().collect::<Vec<_>>(), "{what}");
        }
        assert!(read(r#"{"entities":null}"#).unwrap().entities.is_empty());
    }

    proptest! {
        #[test]
        fn the_next_call_stays_on_host_and_path(
            start in "(https?://)?(api.mypurecloud.com|evil.example|)[:@/]?", end in "([?/][ -~\\r\\n]{0,20})?", within in any::<bool>(),
        ) {
            let uri = if within { format!("{start}{PATH}{end}") } else { format!("{start}{end}") };
            if let Ok(path) = next_path(&uri, "api.mypurecloud.com") {
                prop_assert!(path.starts_with(PATH) && path.bytes().all(|byte| byte.is_ascii_graphic()), "{}", path);
                prop_assert!(!uri.contains("evil"), "{}", uri);
            }
        }

        #[test]
        fn any_answer_is_read_without_harm(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = page(&HttpResponse { status: 200, body: Some(body), retry_after: None }, 0);
        }
    }
}

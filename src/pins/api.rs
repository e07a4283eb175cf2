//! Answers of `GET /api/v2/integrations/actions/certificates`.

use crate::http::{Failure, HttpResponse, Upstream};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use std::fmt;

/// The largest answer that is read, in bytes: some 500 certificates, where two are usual.
pub const MAX_BODY: usize = 1024 * 1024;

/// Entities in one page. Two are usual.
const MAX_ENTITIES: usize = 1024;

/// Path of the certificates call, without its query.
pub const PATH: &str = "/api/v2/integrations/actions/certificates";

/// One page. Every field may be missing, and unknown ones are passed over (the API's SDKs do the same).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Page {
    #[serde(deserialize_with = "entities")]
    pub entities: Vec<Entity>,
    pub next_uri: Option<String>,
}

/// One certificate as the API describes it. Unknown values of the enumerations are tolerated, hence texts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Entity {
    pub signing_authority: Option<String>,
    pub certificate: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// Not more than [`MAX_ENTITIES`]: memory that a VM once took it never gives back, and `{}` takes many times its length.
fn entities<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Entity>, D::Error> {
    struct Entities;

    impl<'de> Visitor<'de> for Entities {
        type Value = Vec<Entity>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_ENTITIES} entities")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut entities = Vec::new();
            while let Some(entity) = seq.next_element()? {
                if entities.len() == MAX_ENTITIES {
                    return Err(de::Error::invalid_length(MAX_ENTITIES + 1, &self));
                }
                entities.push(entity);
            }
            Ok(entities)
        }
    }

    deserializer.deserialize_seq(Entities)
}

/// Reads one page.
pub fn page(response: &HttpResponse) -> Result<Page, Failure> {
    match response.status {
        200 => {}
        401 => {
            return Err(Failure::new("api_unauthorized", "the API does not accept the access token (401)"));
        }
        403 => {
            return Err(Failure::new(
                "api_forbidden",
                "the API answered 403: give the OAuth client a role with the permission \
                 integrations:actionCertificate:view",
            ));
        }
        _ => return Err(response.unexpected(Upstream::Api)),
    }
    let body = response.body_within(MAX_BODY).map_err(|detail| Failure::new("api_too_large", detail))?;
    serde_json::from_slice(body).map_err(|error| {
        let detail = format!(
            "the answer is not the specified JSON: {:?} error in line {}",
            error.classify(),
            error.line()
        );
        Failure::new("api_malformed", detail)
    })
}

/// The path of the next page. It has to be on the host that answered: the token goes there.
pub fn next_path(next_uri: &str, host: &str) -> Result<String, Failure> {
    let refused =
        || Failure::new("next_uri_refused", "the answer's nextUri leads away from the certificates API");
    let path = match next_uri.split_once("://") {
        None => next_uri,
        Some((scheme, rest)) => {
            let end = rest.find('/').ok_or_else(refused)?;
            let (authority, path) = rest.split_at_checked(end).ok_or_else(refused)?;
            if !scheme.eq_ignore_ascii_case("https") || !authority.eq_ignore_ascii_case(host) {
                return Err(refused());
            }
            path
        }
    };
    let within_api = path.strip_prefix(PATH).is_some_and(|rest| {
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        rest.is_empty() || rest.starts_with('?')
    });
    let plain = path.len() <= 2048 && path.bytes().all(|b| b.is_ascii_graphic());
    if within_api && plain { Ok(path.to_owned()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_next_page_is_only_followed_on_the_same_host_and_path() {
        let host = "api.mypurecloud.com";
        let page = format!("{PATH}?status=Current&pageNumber=2");
        for uri in
            [page.clone(), format!("https://{host}{page}"), format!("HTTPS://API.mypurecloud.com{page}")]
        {
            assert_eq!(next_path(&uri, host), Ok(page.clone()), "{uri}");
        }
        for uri in [
            format!("https://evil.example{page}"),
            format!("https://{host}.evil.example{page}"),
            format!("https://{host}@evil.example{page}"),
            format!("https://{host}:444{page}"),
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

    #[test]
    fn pages_are_read_leniently_but_not_as_something_else() {
        let read = |body: &str| {
            page(&HttpResponse { status: 200, body: Some(body.as_bytes().to_vec()), retry_after: None })
        };
        assert_eq!(read("{}").unwrap().entities.len(), 0);
        assert_eq!(read(r#"{"entities":[{"status":"New","x":1},{}],"total":7}"#).unwrap().entities.len(), 2);
        let many = |count: usize| format!(r#"{{"entities":[{{}}{}]}}"#, ",{}".repeat(count - 1));
        assert_eq!(read(&many(MAX_ENTITIES)).unwrap().entities.len(), MAX_ENTITIES);
        assert_eq!(read(&many(MAX_ENTITIES + 1)).unwrap_err().code, "api_malformed");
        for body in
            ["", "[]x", "null x", "<html></html>", r#"{"entities":[{"certificate":"#, r#"{"entities":7}"#]
        {
            assert_eq!(read(body).unwrap_err().code, "api_malformed", "{body}");
        }
    }

    proptest! {
        #[test]
        fn whatever_an_answer_says_the_next_call_stays_on_host_and_path(
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
            let _ = page(&HttpResponse { status: 200, body: Some(body), retry_after: None });
        }
    }
}

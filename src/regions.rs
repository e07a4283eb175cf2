//! The Genesys Cloud regions this release knows: where their API lives and what their client certificate is called.

include!(concat!(env!("OUT_DIR"), "/regions.rs"));

/// One row of the catalogue (`src/regions.csv`, checked when the crate is built).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The AWS-style id that the configuration uses, such as `us-east-1`.
    pub id: &'static str,
    /// The name on Genesys' help page.
    pub title: &'static str,
    /// The API answers at `api.<domain>`, the OAuth server at `login.<domain>`.
    pub domain: &'static str,
    /// The name in the data-actions client certificate, where Genesys publishes it.
    pub certificate_name: Option<&'static str>,
}

/// The region with this id.
pub fn by_id(id: &str) -> Option<&'static Region> {
    REGIONS.iter().find(|region| region.id == id)
}

/// The region whose client certificate carries this name (ASCII case-insensitive).
pub fn by_certificate_name(name: &str) -> Option<&'static Region> {
    REGIONS
        .iter()
        .find(|region| region.certificate_name.is_some_and(|known| known.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn irregular_names_are_served_as_published() {
        let name = |id| by_id(id).and_then(|region| region.certificate_name);
        assert_eq!(name("us-east-1"), Some("dataactions.prod.us-east-1.mypurecloud.com"));
        assert_eq!(name("us-east-2"), Some("dataactions.fedramp-use2-core.us-east-2.mypurecloud.com"));
        assert_eq!(name("eusc-de-east-1"), None);
        assert_eq!(by_id("us-east-9"), None);
    }

    #[test]
    fn a_certificate_name_is_found_in_any_letter_case() {
        let region = by_certificate_name("DataActions.PROD.us-east-1.mypurecloud.com");
        assert_eq!(region.map(|region| region.id), Some("us-east-1"));
        assert_eq!(by_certificate_name(""), None);
    }
}

//! Extended key usages.

use rcgen::ExtendedKeyUsagePurpose;

/// Extended key usages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Eku {
    /// `id-kp-clientAuth`
    ClientAuth,
    /// `id-kp-serverAuth`
    ServerAuth,
    /// `id-kp-emailProtection`
    EmailProtection,
    /// `id-kp-codeSigning`
    CodeSigning,
    /// `anyExtendedKeyUsage`
    Any,
    /// Any other.
    Other(Vec<u64>),
}

pub(super) fn ekus(list: &[Eku]) -> Vec<ExtendedKeyUsagePurpose> {
    list.iter()
        .map(|eku| match eku {
            Eku::ClientAuth => ExtendedKeyUsagePurpose::ClientAuth,
            Eku::ServerAuth => ExtendedKeyUsagePurpose::ServerAuth,
            Eku::EmailProtection => ExtendedKeyUsagePurpose::EmailProtection,
            Eku::CodeSigning => ExtendedKeyUsagePurpose::CodeSigning,
            Eku::Any => ExtendedKeyUsagePurpose::Any,
            Eku::Other(oid) => ExtendedKeyUsagePurpose::Other(oid.clone()),
        })
        .collect()
}

//! Certificates, revocation lists and signatures that others made to be difficult. `scripts/provision.sh vectors` downloads
//! them; nothing of them is part of this repository. `docs/assurance.md` has the results.

mod cavp;
mod odd;
mod pkits;

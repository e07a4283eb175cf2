//! What one region may set differently from the top-level `refresh`: field by field, so that what is left out stays
//! as it is for all.

use crate::config::document::{Clusters, Injected, OAuth, OAuthEnvironment};
use serde::Deserialize;

#[cfg(feature = "schema")]
use schemars::JsonSchema;

/// Per-region part of `refresh`. What is left out is as there.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with `clusters` and `oauth`")]
pub struct RegionRefresh {
    /// Over `refresh.clusters`, field by field.
    pub clusters: Option<RegionClusters>,
    /// Over `refresh.oauth`, field by field.
    pub oauth: Option<OAuth<RegionOAuthEnvironment>>,
}

/// Envoy clusters of this region's API and login host.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with `api` and `login`")]
pub struct RegionClusters {
    /// The cluster of `api.<domain>`.
    pub api: Option<String>,
    /// The cluster of `login.<domain>`.
    pub login: Option<String>,
}

/// Names of the environment variables that hold this region's OAuth client.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an object with `client_id_env` and `client_secret_env`")]
pub struct RegionOAuthEnvironment {
    /// The variable that holds the client id.
    pub client_id_env: Option<String>,
    /// The variable that holds the client secret.
    pub client_secret_env: Option<String>,
}

impl RegionRefresh {
    pub fn clusters(&self, general: &Clusters) -> Clusters {
        let Some(own) = &self.clusters else { return general.clone() };
        Clusters {
            api: own.api.clone().unwrap_or_else(|| general.api.clone()),
            login: own.login.clone().unwrap_or_else(|| general.login.clone()),
        }
    }

    pub fn oauth(&self, general: &OAuth) -> OAuth {
        let own = match &self.oauth {
            None => return general.clone(),
            Some(OAuth::Injected(_)) => return OAuth::Injected(Injected::Injected),
            Some(OAuth::Environment(own)) => own.clone(),
        };
        let general = match general {
            OAuth::Environment(general) => general.clone(),
            OAuth::Injected(_) => OAuthEnvironment::default(),
        };
        OAuth::Environment(OAuthEnvironment {
            client_id_env: own.client_id_env.unwrap_or(general.client_id_env),
            client_secret_env: own.client_secret_env.unwrap_or(general.client_secret_env),
        })
    }
}

//! Whom a task runs as.

use std::ffi::CString;

use mezzo_executor::frame::Credentials;
use nix::unistd::{User, geteuid, getgrouplist};

/// Why a task cannot run as its user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UserError {
    #[error("Failed to get the uid of user '{0}': no such user on this host")]
    Unknown(String),
    #[error("Failed to look up user '{user}': {reason}")]
    Lookup { user: String, reason: String },
    #[error(
        "Cannot run as user '{user}': the agent runs as '{own}' and only root can change users; \
         run the agent as root, or with --no-switch_user"
    )]
    NotRoot { user: String, own: String },
}

/// The agent's own user.
#[derive(Clone, Debug)]
pub(super) struct Own {
    uid: u32,
    name: String,
    switch_user: bool,
}

impl Own {
    pub(super) fn new(switch_user: bool) -> Self {
        let uid = geteuid();
        let name = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
        Self { uid: uid.as_raw(), name, switch_user }
    }

    /// Whether running as `user` needs no change, and no lookup.
    pub(super) fn is(&self, user: Option<&str>) -> bool {
        !self.switch_user || user.is_none_or(|user| user == self.name)
    }

    /// What running as `user` takes; `None` when it is the agent's own. Blocks: asks the system's user data base.
    pub(super) fn credentials(&self, user: &str) -> Result<Option<Credentials>, UserError> {
        if self.is(Some(user)) {
            return Ok(None);
        }
        let lookup = |error: String| UserError::Lookup { user: user.into(), reason: error };
        let found = match User::from_name(user) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(UserError::Unknown(user.into())),
            Err(error) => return Err(lookup(error.to_string())),
        };
        if found.uid.as_raw() == self.uid {
            return Ok(None);
        }
        if self.uid != 0 {
            return Err(UserError::NotRoot { user: user.into(), own: self.name.clone() });
        }
        let name = CString::new(user).map_err(|error| lookup(error.to_string()))?;
        let groups = getgrouplist(&name, found.gid).map_err(|error| lookup(error.to_string()))?;
        Ok(Some(Credentials {
            uid: found.uid.as_raw(),
            gid: found.gid.as_raw(),
            groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_and_refused_with_reasons() {
        let own = Own::new(true);
        assert_eq!(own.credentials(&own.name), Ok(None));
        assert!(Own::new(false).is(Some("whoever")));
        let error = own.credentials("no-such-user-anywhere").unwrap_err();
        assert!(error.to_string().contains("'no-such-user-anywhere'"));
        let nobody = own.credentials("nobody");
        if own.uid == 0 {
            let nobody = nobody.unwrap().unwrap();
            assert!(nobody.uid != 0 && nobody.groups.contains(&nobody.gid));
        } else {
            assert!(nobody.unwrap_err().to_string().contains("--no-switch_user"));
        }
    }
}

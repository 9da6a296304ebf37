//! Users and groups: names or numbers to the identity that a process gets.

use nix::unistd::{Gid, Group, Uid, User};

use super::capabilities;

use crate::reconcile::{Failure, Reason};

/// What setgroups(2), setgid(2) and setuid(2) are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// A resolved user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub ids: Ids,
    /// As /etc/passwd writes it; the number where there is no entry.
    pub name: String,
    /// `/` where there is no entry.
    pub home: std::path::PathBuf,
    pub shell: Option<std::path::PathBuf>,
}

/// Resolves `user` and `group` of a service, each a name or a number. `None` when neither is set: nothing changes.
///
/// A number needs no entry in /etc/passwd or /etc/group. Without `group` the user's primary group is taken, or the
/// group of the same number where the user has no entry. Without `user` only the group changes.
///
/// # Errors
/// `user_unknown` when a name has no entry.
pub fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Option<Account>, Failure> {
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    let mut account = match user {
        Some(user) => account(user)?,
        None => own(),
    };
    if let Some(group) = group {
        account.ids.gid = gid(group)?;
        if user.is_none() {
            account.ids.groups = vec![account.ids.gid];
        }
    }
    Ok(Some(account))
}

/// Why we can't become this account, and what to do; `None`: nothing is known against it.
pub fn obstacle(account: &Account) -> Option<(String, &'static str)> {
    let (us, ids) = (Uid::effective(), &account.ids);
    let name = &account.name;
    let may = capabilities::may_change_user(capabilities::effective());
    if ids.uid != us.as_raw() && !may {
        return Some(match us.is_root() {
            false => (
                format!("only root can start a service as another user (`{name}`)"),
                "start runner as root",
            ),
            true => (
                format!("runner may not become another user (`{name}`): it is root without CAP_SETUID and CAP_SETGID"),
                "give the container these capabilities (`--cap-add SETUID --cap-add SETGID`)",
            ),
        });
    }
    if !capabilities::knows_user(ids.uid) || !capabilities::knows_group(ids.gid) {
        return Some((
            format!(
                "runner may not become `{name}` (uid {}, gid {}): the user namespace that it runs in does not have it",
                ids.uid, ids.gid
            ),
            "map more users into the container (see subuid(5))",
        ));
    }
    None
}

/// The account of this process.
pub fn own() -> Account {
    let uid = Uid::effective();
    let mut account = by_number(uid.as_raw());
    account.ids.gid = Gid::effective().as_raw();
    account
}

/// The name of a user, its number where there is none.
pub fn name_of(uid: u32) -> String {
    by_number(uid).name
}

fn account(wanted: &str) -> Result<Account, Failure> {
    if let Ok(number) = wanted.parse::<u32>() {
        return Ok(by_number(number));
    }
    match User::from_name(wanted) {
        Ok(Some(user)) => Ok(of_entry(user)),
        Ok(None) | Err(_) => Err(Failure {
            reason: Reason::UserUnknown,
            message: format!("there is no user `{wanted}` on this machine"),
            suggestion: Some(format!("create it (`useradd {wanted}`), or change `user`")),
        }),
    }
}

fn by_number(uid: u32) -> Account {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => of_entry(user),
        _ => Account {
            ids: Ids {
                uid,
                gid: uid,
                groups: vec![uid],
            },
            name: uid.to_string(),
            home: "/".into(),
            shell: None,
        },
    }
}

fn of_entry(user: User) -> Account {
    let groups = std::ffi::CString::new(user.name.as_str())
        .ok()
        .and_then(|name| supplementary(&name, user.gid))
        .unwrap_or_else(|| vec![user.gid.as_raw()]);
    Account {
        ids: Ids {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups,
        },
        name: user.name,
        home: user.dir,
        shell: Some(user.shell),
    }
}

#[cfg(not(target_vendor = "apple"))]
fn supplementary(name: &std::ffi::CStr, gid: Gid) -> Option<Vec<u32>> {
    let groups = nix::unistd::getgrouplist(name, gid).ok()?;
    Some(groups.into_iter().map(Gid::as_raw).collect())
}

#[cfg(target_vendor = "apple")]
fn supplementary(_: &std::ffi::CStr, gid: Gid) -> Option<Vec<u32>> {
    Some(vec![gid.as_raw()])
}

fn gid(wanted: &str) -> Result<u32, Failure> {
    if let Ok(number) = wanted.parse::<u32>() {
        return Ok(number);
    }
    match Group::from_name(wanted) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) | Err(_) => Err(Failure {
            reason: Reason::UserUnknown,
            message: format!("there is no group `{wanted}` on this machine"),
            suggestion: Some(format!("create it (`groupadd {wanted}`), or change `group`")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_resolve() {
        let root = resolve(Some("root"), None).unwrap().unwrap();
        assert_eq!((root.ids.uid, root.ids.gid), (0, 0));
        let bare = resolve(Some("4000000"), None).unwrap().unwrap();
        assert_eq!(
            (bare.ids.uid, bare.ids.gid, bare.name.as_str()),
            (4_000_000, 4_000_000, "4000000")
        );
        let grouped = resolve(Some("0"), Some("12345")).unwrap().unwrap();
        assert_eq!(grouped.ids.gid, 12345);
        assert_eq!(resolve(None, None).unwrap(), None);
    }

    #[test]
    fn sp_unknown_names_are_named() {
        let failure = resolve(Some("nosuchuser"), None).unwrap_err();
        assert_eq!(failure.reason, Reason::UserUnknown);
        assert!(failure.message.contains("nosuchuser"));
        assert!(
            resolve(None, Some("nosuchgroup"))
                .unwrap_err()
                .message
                .contains("nosuchgroup")
        );
    }
}

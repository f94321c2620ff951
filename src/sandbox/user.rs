//! Whom PostgreSQL runs as.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::Error;

/// A system account that root lends its programs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// The account to run PostgreSQL as: `None` means "as we are", because we are not root.
pub fn account() -> Result<Option<Account>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = std::fs::read_to_string("/etc/passwd").map_err(Error::io("reading /etc/passwd"))?;
    ["postgres", "nobody"].iter().find_map(|name| find(&passwd, name)).map(Some).ok_or(Error::NoAccount)
}

fn find(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [found, _, uid, gid, ..] = fields.as_slice() else { return None };
        (*found == name).then_some(())?;
        Some(Account { name: name.to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    })
}

/// A command that runs as `account`, in `directory`, in a process group of its own (so that Ctrl-C reaches
/// us first), and that no `PG…` variable of ours can lead astray.
pub(super) fn command(program: &Path, account: Option<&Account>, directory: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C").current_dir(directory).process_group(0).stdin(std::process::Stdio::null());
    if let Some(account) = account {
        // As root, `uid` also drops our supplementary groups.
        command.gid(account.gid).uid(account.uid);
    }
    command
}

/// Gives a file or directory to the account.
pub(super) fn give(path: &Path, account: Option<&Account>) -> Result<(), Error> {
    let Some(account) = account else { return Ok(()) };
    std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid)).map_err(Error::io(format!(
        "giving {} to {}",
        path.display(),
        account.name
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_their_whole_name() {
        let passwd =
            "root:x:0:0::/root:/bin/sh\npostgresql:x:7:8::/:/x\npostgres:x:101:104:,,,:/var:/bin/bash\n";
        let expected = Account { name: "postgres".into(), uid: 101, gid: 104 };
        assert_eq!(find(passwd, "postgres"), Some(expected));
        assert_eq!(find(passwd, "nobody"), None);
    }
}

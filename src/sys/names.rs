//! Where names of users, groups and hosts are looked up.

/// Makes a statically linked glibc look only into files, and ask DNS for hosts. Called before any name is looked up; a
/// dynamically linked one is left alone and does as /etc/nsswitch.conf says.
///
/// What nsswitch.conf(5) names besides (`systemd`, `ldap`, `mdns`) are libraries of the machine's own glibc. A static glibc
/// loads them nevertheless, and dies of those: with `passwd: files systemd` of Debian 12, at the first unknown user.
pub fn keep_to_files() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    for (database, services) in [
        (c"passwd", c"files"),
        (c"group", c"files"),
        (c"initgroups", c"files"),
        (c"hosts", c"files dns"),
    ] {
        // SAFETY: of <nss.h>; it copies both strings, and no other thread is there yet.
        // It fails only for want of memory or for a database that does not exist.
        #[allow(unsafe_code)]
        let _ = unsafe { __nss_configure_lookup(database.as_ptr(), services.as_ptr()) };
    }
}

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
#[allow(unsafe_code)]
unsafe extern "C" {
    fn __nss_configure_lookup(database: *const libc::c_char, services: *const libc::c_char) -> libc::c_int;
}

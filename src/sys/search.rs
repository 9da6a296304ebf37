//! Where a program is looked for, as execvp(3) does it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Used where nothing gives a PATH, as Docker does.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Its own path where it holds a slash, else its name in each folder of `path`. An empty element is the working folder.
pub fn candidates(program: &OsStr, path: &OsStr) -> Vec<Vec<u8>> {
    let program = program.as_bytes();
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    path.as_bytes()
        .split(|&byte| byte == b':')
        .map(|folder| match folder {
            b"" => [b"./", program].concat(),
            folder => [folder, b"/", program].concat(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_looked_for_along_path_and_a_path_is_taken_as_it_is() {
        let along = candidates(OsStr::new("sh"), OsStr::new("/usr/bin::/bin"));
        assert_eq!(along, [b"/usr/bin/sh".to_vec(), b"./sh".to_vec(), b"/bin/sh".to_vec()]);
        assert_eq!(
            candidates(OsStr::new("./bin/sh"), OsStr::new("/usr/bin")),
            [b"./bin/sh".to_vec()]
        );
    }
}

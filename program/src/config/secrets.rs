//! Secrets among settings: a file that contains one, and a proxy URL that may.

use std::{
    convert::Infallible,
    fmt,
    io::Read,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize, Serializer};

/// Schemes of proxies.
const SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];
/// Longest secret in a file, in bytes.
const MAX_SECRET: u64 = 4096;

/// A secret cannot be read from a file. The text never contains the secret.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct SecretError {
    path: PathBuf,
    problem: String,
}

/// Reads the secret in a file: one line, without its line end.
///
/// # Errors
/// [`SecretError`] for a file that cannot be read, is empty, is longer than 4 KiB or has several
/// lines.
pub fn read_secret(path: &Path) -> Result<String, SecretError> {
    let wrong = |problem: String| SecretError {
        path: path.to_owned(),
        problem,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(MAX_SECRET + 1)
        .read_to_string(&mut text)
        .map_err(|error| wrong(error.to_string()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    let problem = match secret {
        "" => "it is empty",
        _ if text.len() as u64 > MAX_SECRET => "it is over 4 KiB",
        _ if secret.contains(char::is_control) => "it must hold one line of printable text",
        _ => return Ok(secret.to_owned()),
    };
    Err(wrong(problem.to_owned()))
}

/// A secret text. Its `Debug` omits it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The URL of a proxy: `http://`, `https://` or `socks5://`. It may contain a user and a password,
/// which `Display` and `Debug` omit.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ProxyUrl(String);

impl ProxyUrl {
    /// The URL as written, with user and password.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProxyUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Anything but a proxy's scheme may be the beginning of a user or a password.
        let (scheme, rest) = match self.0.split_once("://") {
            Some((scheme, rest)) if SCHEMES.contains(&&*scheme.to_ascii_lowercase()) => {
                (format!("{scheme}://"), rest)
            }
            _ => (String::new(), self.0.as_str()),
        };
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        let place = place
            .split(['/', '?', '#', '\\'])
            .next()
            .unwrap_or_default();
        write!(f, "{scheme}{place}")
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({self})")
    }
}

impl Serialize for ProxyUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_a_proxy_holds_its_password() {
        for (written, shown) in [
            ("http://ann:p@ss/w@proxy:3128", "http://proxy:3128"),
            ("socks5://proxy:1080", "socks5://proxy:1080"),
            ("ann:pass@proxy:1", "proxy:1"),
            ("HTTP://ann@proxy:1/path", "HTTP://proxy:1"),
            ("ann:pa://ss@proxy:1", "proxy:1"),
            ("ann://pass@proxy:1", "proxy:1"),
            ("http://proxy:1/?password=pass", "http://proxy:1"),
            ("", ""),
        ] {
            let url: ProxyUrl = written.parse().unwrap();
            assert_eq!(url.reveal(), written);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("ProxyUrl({shown})"));
        }
    }

    #[test]
    fn a_secret_is_one_line_of_a_file() {
        let name = format!("bowline-secret-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_secret(&path).map_err(|error| error.to_string())
        };
        assert_eq!(read("S3CRET\r\n").as_deref(), Ok("S3CRET"));
        for wrong in ["", "\n", "S3CRET\nS3CRET", &"S3CRET".repeat(1_000)] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("bowline-secret-"), "{error}");
            assert!(!error.contains("S3CRET"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(read_secret(&path).is_err());
    }
}

//! Selection of hosts and agents by name or id.

use bowline_program::short_ids;
use bowline_runtime::{HostRecord, protocol::AgentSummary};

use crate::failure::CliError;

/// Maximum rows listed in an error.
const LISTED: usize = 10;

/// A named object that an argument can select.
trait Named {
    fn id(&self) -> &str;
    fn name(&self) -> &str;
}

impl Named for HostRecord {
    fn id(&self) -> &str {
        self.server_id.as_str()
    }
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for AgentSummary {
    fn id(&self) -> &str {
        self.id.as_str()
    }
    fn name(&self) -> &str {
        &self.title
    }
}

/// All equally good matches of `asked`: a full id before a name, a name before the beginning or end
/// of an id.
fn matches<'a, T: Named>(all: &[&'a T], asked: &str) -> Vec<&'a T> {
    let fits: [&dyn Fn(&T) -> bool; 3] = [
        &|one| one.id() == asked,
        &|one| one.name() == asked,
        &|one| short_ids::means(one.id(), asked),
    ];
    let found = fits.iter().map(|fits| -> Vec<_> {
        let all = all.iter().copied();
        all.filter(|one| fits(one)).collect()
    });
    let mut found = found.filter(|found| !found.is_empty());
    found.next().unwrap_or_default()
}

/// The first few matches, one per line, with distinguishable ids.
fn list<T: Named>(some: &[&T]) -> String {
    let length = short_ids::short_length(some.iter().map(|one| one.id()));
    let lines = some.iter().take(LISTED).map(|one| {
        let id = short_ids::end(one.id(), length);
        format!("\n  {id}  {}", crate::text::one_line(one.name()))
    });
    let mut text: String = lines.collect();
    if some.len() > LISTED {
        text += &format!("\n  … and {} more", some.len() - LISTED);
    }
    text
}

/// The known host selected by the user; without a selection the only one.
pub(crate) fn host<'a>(
    known: &'a [HostRecord],
    asked: Option<&str>,
) -> Result<&'a HostRecord, CliError> {
    let all: Vec<_> = known.iter().collect();
    if all.is_empty() {
        return Err(CliError::failed(
            "no_hosts",
            "this device is paired with no daemon yet; run `bowline-daemon pair` on the daemon's machine, then \
             `bowline pair OFFER` here",
        ));
    }
    let found = asked.map_or_else(|| all.clone(), |asked| matches(&all, asked));
    let (reason, problem) = match (found.as_slice(), asked) {
        ([one], _) => return Ok(one),
        ([], _) => {
            let asked = asked.unwrap_or_default();
            let problem = format!("no host `{asked}` is known here; known are:{}", list(&all));
            ("unknown_host", problem)
        }
        (several, Some(asked)) => return Err(ambiguous(asked, several)),
        (several, None) => {
            let all = list(several);
            let problem = format!("several hosts are known; name one with --host:{all}");
            ("ambiguous", problem)
        }
    };
    Err(CliError::usage(reason, problem))
}

/// The agent selected by the user if exactly one matches; an error if several do.
pub(crate) fn agent<'a>(
    known: &[&'a AgentSummary],
    asked: &str,
) -> Result<Option<&'a AgentSummary>, CliError> {
    match matches(known, asked).as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => Err(ambiguous(asked, several)),
    }
}

fn ambiguous<T: Named>(asked: &str, several: &[&T]) -> CliError {
    let problem = format!("`{asked}` may be any of:{}", list(several));
    CliError::usage("ambiguous", problem)
}

#[cfg(test)]
mod tests {
    use bowline_runtime::protocol::{AgentStatus, PublicKey, ServerId};

    use super::*;

    fn record(n: u8, name: &str) -> HostRecord {
        HostRecord {
            server_id: ServerId::of_public_key(&[n; 32]),
            name: name.into(),
            transport_key: PublicKey::from_bytes([n; 32]),
            psk: None,
            addresses: Vec::new(),
        }
    }

    fn summary(id: &str, title: &str) -> AgentSummary {
        AgentSummary {
            id: id.parse().unwrap(),
            title: title.into(),
            provider: "shell".into(),
            cwd: "/".into(),
            status: AgentStatus::Idle,
            created_at: 0,
            updated_at: 0,
            attention: None,
            intent_id: None,
        }
    }

    #[test]
    fn a_host_is_named_by_id_by_a_part_of_it_or_by_name() {
        let known = [record(1, "workshop"), record(2, "laptop")];
        let id = known[1].server_id.as_str();
        for asked in ["laptop", id, &id[..12], &id[4..12], &id[22..]] {
            assert_eq!(host(&known, Some(asked)).unwrap(), &known[1], "{asked}");
        }
        let error = host(&known, Some("attic")).unwrap_err();
        assert_eq!(error.reason, "unknown_host");
        assert!(error.message.contains("workshop") && error.message.contains(&id[22..]));
        assert_eq!(host(&known, Some("srv_")).unwrap_err().reason, "ambiguous");
        assert!(host(&known, None).unwrap_err().message.contains("--host"));
        assert_eq!(host(&known[..1], None).unwrap(), &known[0]);
        assert_eq!(host(&[], None).unwrap_err().reason, "no_hosts");
    }

    #[test]
    fn an_agent_is_named_by_id_by_a_part_of_it_or_by_title() {
        let all = [
            summary("agt_0a1", "build"),
            summary("agt_0a2", "agt_0a1"),
            summary("agt_0b", "test"),
        ];
        let known: Vec<_> = all.iter().collect();
        let found =
            |asked: &str| agent(&known, asked).map(|found| found.map(|one| one.id.as_str()));
        assert_eq!(
            found("agt_0a1").unwrap(),
            Some("agt_0a1"),
            "an id comes before a title"
        );
        assert_eq!(found("test").unwrap(), Some("agt_0b"));
        assert_eq!(found("agt_0b").unwrap(), Some("agt_0b"));
        for part in ["0b", "b"] {
            assert_eq!(found(part).unwrap(), Some("agt_0b"));
        }
        assert_eq!(found("deploy").unwrap(), None);
        assert_eq!(found("").unwrap(), None);
        let error = found("agt_0a").unwrap_err();
        assert_eq!(error.reason, "ambiguous");
        assert!(
            error
                .message
                .ends_with(":\n  agt_0a1  build\n  agt_0a2  agt_0a1"),
            "{error}"
        );
    }
}

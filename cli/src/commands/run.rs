//! `bowline run`: creates an agent with a prompt and shows its work until the turn ends.

use bowline_runtime::{Intent, protocol::methods::AgentCreated};

use super::{Progress, providers};
use crate::{
    client::Client,
    failure::{CliError, Exit, Stop},
    follow::follow,
    input,
    lines::Line,
    text,
    turn::Turn,
};

/// Arguments of the command.
pub(super) struct Wanted {
    pub(super) host: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) cwd: Option<String>,
    pub(super) prompt: String,
}

pub(super) async fn run(
    client: &Client<'_>,
    progress: &Progress,
    wanted: Wanted,
) -> Result<Exit, Stop> {
    let settings = client.settings;
    let host = client.host(wanted.host.as_deref())?;
    let provider = wanted.provider.or_else(|| settings.provider.clone());
    let cwd = directory(wanted.cwd.as_deref().or(settings.cwd.as_deref()))?;
    let prompt = input::prompt(wanted.prompt).await?;
    // Nothing is sent to an unreachable host: a prompt must not start hours later.
    client.online(host).await?;
    let provider = match provider {
        Some(provider) => provider,
        None => providers::only(client, host).await?,
    };
    let intent = Intent::CreateAgent {
        provider: provider.clone(),
        cwd: cwd.clone(),
        title: None,
        prompt: Some(prompt),
    };
    let submitted = client.send(progress, host, intent)?;
    let turn = Turn::of(submitted.id);
    let agent = match client.outcome::<AgentCreated>(host, submitted).await {
        Ok(created) => created.agent,
        // Of the parameters of a new agent, only the provider is looked up by name.
        Err(error) if error.reason == "not_found" => {
            return Err(providers::unknown(client, host, &provider).await.into());
        }
        // Only the hint depends on the message text: another folder does not fix a bad prompt.
        Err(mut error) if error.reason == "invalid_request" && error.message.contains("`cwd`") => {
            let (cwd, name) = (text::one_line(&cwd), text::one_line(&host.name));
            error.message +=
                &format!("; the directory is {cwd} on {name}, select another with --cwd");
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    progress.working(host, &agent.id);
    if client.output.mode.json {
        let line = Line::Agent {
            server_id: None,
            agent: &agent,
        };
        client.output.json(&line).await?;
    } else if client.output.mode.rich_err {
        let line = format!("{} on {}", agent.id, text::one_line(&host.name));
        let colours = client.output.mode.colours_err;
        let line = text::paint(colours, text::dim(), &line);
        client.output.say(line).await?;
    }
    follow(client, host, &agent.id, 0, turn).await
}

/// The working directory for the agent. A path that is absolute on any platform is sent unchanged;
/// a relative one is resolved on this machine.
fn directory(asked: Option<&str>) -> Result<String, CliError> {
    let asked = asked.unwrap_or(".");
    let drive = asked
        .get(1..3)
        .is_some_and(|rest| rest == ":\\" || rest == ":/");
    if asked.starts_with('/') || asked.starts_with("\\\\") || drive {
        return Ok(asked.to_owned());
    }
    let unusable = |problem: &str| {
        let what = format!("`{asked}` cannot be made an absolute path ({problem})");
        CliError::usage("usage", format!("{what}; name one with --cwd"))
    };
    let here = std::env::current_dir().map_err(|error| unusable(&error.to_string()))?;
    let joined = match asked {
        "." => here,
        asked => here.join(asked),
    };
    let joined = joined.into_os_string().into_string();
    joined.map_err(|_| unusable("it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_directory_is_the_daemons_business_whatever_its_platform() {
        for cwd in ["/srv/code", "C:\\code", "D:/code", "\\\\server\\share"] {
            assert_eq!(directory(Some(cwd)).unwrap(), cwd);
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(directory(None).unwrap(), here.to_str().unwrap());
        assert_eq!(
            directory(Some("sub")).unwrap(),
            here.join("sub").to_str().unwrap()
        );
    }
}

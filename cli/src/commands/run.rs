//! `bowline run`: makes an agent with a prompt and shows its work until the turn ends.

use std::path::Path;

use bowline_runtime::{Intent, protocol::methods::AgentCreated};

use super::{Story, providers};
use crate::{
    client::Client,
    failure::{CliError, Exit, Stop},
    follow::follow,
    input,
    lines::Line,
    text,
    turn::Turn,
};

/// What the command line asks for.
pub(super) struct Wanted {
    pub(super) host: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) cwd: Option<String>,
    pub(super) prompt: String,
}

pub(super) async fn run(client: &Client<'_>, story: &Story, wanted: Wanted) -> Result<Exit, Stop> {
    let file = &client.settings.file;
    let host = client.host(wanted.host.as_deref())?;
    let provider = wanted.provider.or_else(|| file.provider.clone());
    let cwd = directory(wanted.cwd.as_deref().or(file.cwd.as_deref()))?;
    let prompt = input::prompt(wanted.prompt).await?;
    // Nothing is sent to a host that is not there: a prompt that runs hours later would surprise.
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
    let submitted = client
        .runtime
        .send(&host.server_id, intent)
        .map_err(CliError::from)?;
    story.sent(host);
    let turn = Turn::of(submitted.id);
    let agent = match client.outcome::<AgentCreated>(host, submitted).await {
        Ok(created) => created.agent,
        // Of what a new agent needs, only the provider is looked up by name.
        Err(error) if error.reason == "not_found" => {
            return Err(providers::unknown(client, host, &provider).await.into());
        }
        // Only a hint hangs on the words: what is wrong with a prompt is not mended by another folder.
        Err(mut error) if error.reason == "invalid_request" && error.message.contains("`cwd`") => {
            let (cwd, name) = (text::one_line(&cwd), text::one_line(&host.name));
            error.message +=
                &format!("; asked for in {cwd} on {name}, --cwd names another folder there");
            return Err(error.into());
        }
        Err(error) => return Err(error.into()),
    };
    story.working(host, &agent.id);
    if client.output.mode.json {
        let line = Line::Agent {
            server_id: None,
            agent: &agent,
        };
        client.output.json(&line).await?;
    } else if client.output.mode.rich_err {
        let line = format!("{} on {}", agent.id, text::one_line(&host.name));
        client
            .output
            .say(text::paint(
                client.output.mode.colours_err,
                text::dim(),
                &line,
            ))
            .await?;
    }
    let stream = client.runtime.timeline(&host.server_id, &agent.id).await;
    // From its very beginning, so that nothing is missed that was quicker than this.
    let stream = stream.map_err(CliError::from)?.from_index(0);
    follow(client, host, &agent.id, stream, turn).await
}

/// The working directory to ask for. A path that is absolute on any platform is the daemon's business; a
/// relative one stands for a directory here.
fn directory(asked: Option<&str>) -> Result<String, CliError> {
    let asked = asked.unwrap_or(".");
    let drive = asked
        .get(1..3)
        .is_some_and(|rest| rest == ":\\" || rest == ":/");
    if asked.starts_with('/') || asked.starts_with("\\\\") || drive {
        return Ok(asked.to_owned());
    }
    let unusable = |problem: &str| {
        let message =
            format!("`{asked}` cannot be made an absolute path ({problem}); name one with --cwd");
        CliError::usage("usage", message)
    };
    let here = std::env::current_dir().map_err(|error| unusable(&error.to_string()))?;
    let joined = if asked == "." {
        here
    } else {
        here.join(Path::new(asked))
    };
    joined
        .into_os_string()
        .into_string()
        .map_err(|_| unusable("it is no UTF-8"))
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

//! `bowline providers`: what agents of a host can be made of; and which one is meant where none is named.

use bowline_program::table::table;
use bowline_runtime::{
    HostRecord,
    protocol::methods::{Empty, Providers, name},
};
use clap::builder::styling::Style;

use crate::{
    client::Client,
    failure::{CliError, Exit, Stop},
    lines::Line,
    text,
};

pub(super) async fn providers(client: &Client<'_>, on: Option<&str>) -> Result<Exit, Stop> {
    let host = client.host(on)?;
    client.online(host).await?;
    let Providers { providers } = offered(client, host).await?;
    if client.output.mode.json {
        for provider in &providers {
            let line = Line::Provider {
                server_id: &host.server_id,
                provider,
            };
            client.output.json(&line).await?;
        }
        return Ok(Exit::Done);
    }
    let rows: Vec<_> = providers
        .iter()
        .map(|provider| {
            vec![
                text::cell(text::one_line(&provider.name), text::bold()),
                text::cell(text::one_line(&provider.kind), Style::new()),
                text::cell(text::one_line(&provider.title), Style::new()),
            ]
        })
        .collect();
    let colours = client.output.mode.colours;
    client
        .output
        .out(table(&["PROVIDER", "KIND", "TITLE"], &rows, colours))
        .await?;
    Ok(Exit::Done)
}

/// The provider to use where none is named: the only one there is.
pub(super) async fn only(client: &Client<'_>, host: &HostRecord) -> Result<String, CliError> {
    let Providers { providers } = offered(client, host).await?;
    match providers.as_slice() {
        [one] => Ok(one.name.clone()),
        several => {
            let there = in_words(host, several.iter().map(|provider| provider.name.as_str()));
            let message = format!("which provider? name one with --provider; {there}");
            Err(CliError::usage("usage", message))
        }
    }
}

/// The error for a provider that is not there.
pub(super) async fn unknown(client: &Client<'_>, host: &HostRecord, asked: &str) -> CliError {
    match offered(client, host).await {
        Ok(Providers { providers }) => {
            let there = in_words(
                host,
                providers.iter().map(|provider| provider.name.as_str()),
            );
            let message = format!("no provider `{}`; {there}", text::one_line(asked));
            CliError::usage("not_found", message)
        }
        Err(error) => error,
    }
}

async fn offered(client: &Client<'_>, host: &HostRecord) -> Result<Providers, CliError> {
    client.query(host, name::PROVIDERS_LIST, &Empty {}).await
}

fn in_words<'a>(host: &HostRecord, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(text::one_line).collect();
    format!("{} has: {}", text::one_line(&host.name), names.join(", "))
}

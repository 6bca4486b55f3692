//! `bowline providers`: the providers of a host, and the default provider of a command.

use bowline_program::table::table;
use bowline_runtime::{
    HostRecord,
    protocol::{
        ProviderInfo,
        methods::{Empty, Providers, name},
    },
};

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
    let row = |provider: &ProviderInfo| {
        let name = text::cell(text::one_line(&provider.name), text::bold());
        vec![
            name,
            text::plain(&provider.kind),
            text::plain(&provider.title),
        ]
    };
    let rows: Vec<_> = providers.iter().map(row).collect();
    let head = ["PROVIDER", "KIND", "TITLE"];
    let table = table(&head, &rows, client.output.mode.colours);
    client.output.out(table).await?;
    Ok(Exit::Done)
}

/// The default provider: the only one of the host.
pub(super) async fn only(client: &Client<'_>, host: &HostRecord) -> Result<String, CliError> {
    let Providers { providers } = offered(client, host).await?;
    match providers.as_slice() {
        [one] => Ok(one.name.clone()),
        several => {
            let there = in_words(host, several);
            let message = format!("which provider? name one with --provider; {there}");
            Err(CliError::usage("usage", message))
        }
    }
}

/// The error for an unknown provider.
pub(super) async fn unknown(client: &Client<'_>, host: &HostRecord, asked: &str) -> CliError {
    match offered(client, host).await {
        Ok(Providers { providers }) => {
            let there = in_words(host, &providers);
            let message = format!("no provider `{}`; {there}", text::one_line(asked));
            CliError::usage("not_found", message)
        }
        Err(error) => error,
    }
}

async fn offered(client: &Client<'_>, host: &HostRecord) -> Result<Providers, CliError> {
    client.query(host, name::PROVIDERS_LIST, &Empty {}).await
}

fn in_words(host: &HostRecord, providers: &[ProviderInfo]) -> String {
    let names = providers.iter();
    let names: Vec<_> = names
        .map(|provider| text::one_line(&provider.name))
        .collect();
    format!("{} has: {}", text::one_line(&host.name), names.join(", "))
}

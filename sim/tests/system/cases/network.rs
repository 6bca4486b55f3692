//! Dialling: names, addresses, proxies, certificates, tokens, statuses.

"""A first configuration, made from what there is to look at. `discover` says what a path, an address or a unit is, `json_drafts`,
`sql_drafts` and `log_drafts` what can be read there, `kpis` what is worth judging of it, and `write` puts it into files."""

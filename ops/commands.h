/*
 * The table of commands: every role and every command is a function of this shape, called by ops/main.c with argv[0] =
 * "muster NAME". Each parses its own options with argp (--help with meaning, units and one example), prints results on
 * standard output and everything else on standard error, and returns an exit code of sysexits.h.
 */
#ifndef MUSTER_OPS_COMMANDS_H
#define MUSTER_OPS_COMMANDS_H

/* Roles, started by the supervisor: --data DIR --index N. */
int ingest_main(int argc, char **argv); /* ingest/main.c */
int worker_main(int argc, char **argv); /* workers/main.c */

int ops_run_main(int argc, char **argv); /* ops/run.c: options of the node; ops/supervise.c does it */
int ops_check_main(int argc, char **argv);
int ops_config_main(int argc, char **argv);
int ops_reload_main(int argc, char **argv);
int ops_status_main(int argc, char **argv);
int ops_tally_main(int argc, char **argv);
int ops_get_main(int argc, char **argv);
int ops_export_main(int argc, char **argv);
int ops_quarantine_main(int argc, char **argv);
int ops_verify_main(int argc, char **argv);
int ops_salvage_main(int argc, char **argv);
int ops_backup_main(int argc, char **argv);
int ops_restore_main(int argc, char **argv);
int ops_key_main(int argc, char **argv);
int client_submit_main(int argc, char **argv);  /* client/submit.c */
int bench_generate_main(int argc, char **argv); /* bench/generate.c */
int bench_bench_main(int argc, char **argv);    /* bench/bench.c */

#endif

//! `amphi provision`: writes everything that a deployment needs, for one host or many, and checks one that runs. Knows the
//! configuration and the world around it; starts nothing.

mod brewery;
mod check;
mod mixed;
mod nodes;
mod outside;
mod plan;
mod probe;
mod secrets;
mod stun;
mod system;
#[cfg(test)]
mod tests;
mod write;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

pub use plan::{Place, Plan, PlanError};

/// File of the output folder that has the plan.
const PLAN: &str = "deployment.json";

/// `amphi provision …`
#[derive(Clone, Debug, Args)]
pub struct ProvisionArgs {
    /// Domain that people type
    #[arg(long, value_name = "DOMAIN", required_unless_present = "check")]
    pub domain: Option<String>,
    /// Visitor nodes: v1, v2, ...
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub visitors: u16,
    /// Media bridges: bridge1, bridge2, ...
    #[arg(long, value_name = "B", default_value_t = 1)]
    pub bridges: u16,
    /// Where nodes are, as main=ADDR, visitors=ADDR,ADDR (in turn), bridges=ADDR,ADDR, v3=ADDR; everything on this machine
    /// when left out
    #[arg(long = "host", value_name = "ROLE=ADDR")]
    pub hosts: Vec<String>,
    /// Public address of a bridge behind a NAT, as bridge1=ADDR
    #[arg(long = "public", value_name = "BRIDGE=ADDR")]
    pub public: Vec<String>,
    /// Seats on stage
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub stage: u32,
    /// Host of a TURN server; its configuration is written too
    #[arg(long, value_name = "HOST")]
    pub turn: Option<String>,
    /// The TURN server is on the host of the main node: nginx splits port 443 by name between it and the meetings
    #[arg(long, requires = "turn")]
    pub turn_beside: bool,
    /// First label of conference addresses; muc in stock containers
    #[arg(long, value_name = "LABEL", default_value = "conference")]
    pub muc_prefix: String,
    /// Added to every port of ours, for one more deployment on the same hosts
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port_offset: u16,
    /// Folder for the files
    #[arg(long, value_name = "DIR", default_value = "deployment")]
    pub out: PathBuf,
    /// Overwrite changed files without asking
    #[arg(long)]
    pub yes: bool,
    /// Check the running deployment of that folder; run it on the host of the main node
    #[arg(long)]
    pub check: bool,
}

impl ProvisionArgs {
    /// Does it. 0 when all is well, 1 when something is not or was left alone, 2 for wrong arguments.
    pub fn run(&self) -> ExitCode {
        let outcome = if self.check { self.check() } else { self.write() };
        match outcome {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("amphi: {error:#}");
                ExitCode::from(if error.is::<PlanError>() { 2 } else { 1 })
            }
        }
    }

    /// Whether every file is as planned now.
    fn write(&self) -> anyhow::Result<bool> {
        let plan = Plan::of(self)?;
        let mut secrets = secrets::Secrets::of(&self.out);
        let focus_password = secrets.password("focus")?;
        let bridge_password = secrets.password("jvb")?;
        let turn_secret = plan.turn.as_ref().map(|_| secrets.password("turn")).transpose()?;
        let mut identities = Vec::new();
        for node in plan.nodes().filter(|n| n.media == 0) {
            identities.push((node.name.clone(), secrets.certificate(&node.name, names(&plan, node))?));
        }
        let shared = nodes::Shared {
            plan: &plan,
            focus_password: &focus_password,
            bridge_password: &bridge_password,
            turn_secret: turn_secret.as_deref(),
            identities: &identities,
        };
        let mut files = shared.files();
        files.extend(system::files(&plan, turn_secret.as_deref()));
        files.extend(mixed::files(&plan, &focus_password));
        files.push(write::Output::public(PLAN, serde_json::to_string_pretty(&plan)? + "\n"));
        let written = write::files(&self.out, &files, self.yes)?;
        let out = self.out.display();
        println!(
            "{out}: {} files new, {} changed, {} as they were; {} secrets made.",
            written.new,
            written.changed,
            written.same,
            secrets.made.len()
        );
        for folder in &written.left_over {
            println!(
                "{} is of no planned node any more. Stop amphi@NAME on its host, then remove the folder.",
                folder.display()
            );
        }
        if written.refused > 0 {
            println!("{} files differ and were left alone; run again with --yes to overwrite them.", written.refused);
            return Ok(false);
        }
        println!("{out}/README.md tells how to go on.");
        Ok(true)
    }

    fn check(&self) -> anyhow::Result<bool> {
        let path = self.out.join(PLAN);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{}: name the folder that `amphi provision` wrote with --out", path.display()))?;
        let plan: Plan = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(runtime.block_on(check::run(&plan, &self.out)))
    }
}

/// Names in the certificate of a node. Peers of ours pin the whole certificate; stock ones look at names at most.
fn names(plan: &Plan, node: &Place) -> Vec<String> {
    match node.name.as_str() {
        "main" => vec![
            plan.domain.clone(),
            plan.auth_domain(),
            plan.muc(),
            format!("visitors.{}", plan.domain),
            format!("focus.{}", plan.domain),
        ],
        name => vec![format!("{name}.meet.jitsi"), plan.muc_of(node), "auth.meet.jitsi".to_owned()],
    }
}

//! What is installed elsewhere: lints of container image, Debian package, Helm chart and of the files that `amphi provision` writes; the
//! Debian package built and looked into; certificates from an authority that speaks ACME; a provisioned deployment on hosts of its own.

use std::path::Path;
use std::process::Command;

use crate::install;
use crate::run::{root, target_dir};
use crate::tally::Tally;

/// Programs of others that judge what is ours, or that it works with.
const GO: [(&str, &str); 3] = [
    ("helm", "helm.sh/helm/v3/cmd/helm@v3.22.0"),
    ("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0"),
    ("pebble", "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1"),
];

/// Runs it all with the server that is built. Tools that are not installed are named, and what needs them is skipped.
/// `namespaces`: with as large an audience as the settings need to open all nodes; otherwise a small one with a lower bound.
pub(crate) fn run(tally: &mut Tally, namespaces: bool) {
    let folder = root().join("tests/deploy");
    let python = match install::python_of("deploy-python", &folder.join("requirements.txt")) {
        Ok(python) => python,
        Err(error) => return tally.fail("deploy", &format!("{error:#}")),
    };
    // What needs it is skipped aloud where it cannot be had.
    let mut missing: Vec<anyhow::Error> = install::debian("nginx", &["nginx-light"]).err().into_iter().collect();
    missing.extend(install::debian("ip", &["iproute2"]).err());
    if !namespaces {
        missing.extend(GO.iter().filter_map(|(program, module)| install::go(program, module).err()));
    }
    for error in missing {
        println!("{error:#}");
    }
    if !namespaces {
        tally.script("deploy: images, packages, chart, provisioned files", script(&python, &folder, "lint.py"));
        if GO.iter().all(|(program, module)| *program != "pebble" || install::go(program, module).is_ok()) {
            tally.script("deploy: certificates by ACME", script(&python, &folder, "acme.py"));
        }
    }
    let probed = script(&python, &folder, "namespaces.py").arg("--probe").status();
    if !probed.is_ok_and(|status| status.success()) {
        // The script has said why.
        return;
    }
    let mut command = script(&python, &folder, "namespaces.py");
    if namespaces {
        command.args(["--audience", "1700"]);
    }
    tally.script("deploy: as provisioned, on hosts that are network namespaces", command);
    if namespaces {
        return;
    }
    match closed() {
        Ok(arguments) => {
            let mut command = script(&python, &folder, "closed.py");
            command.args(arguments);
            tally.script("deploy: media for a network that lets nothing but TCP 443 out", command);
        }
        Err(error) => println!("skipped closed networks: {error:#}"),
    }
}

/// What media through TURN needs besides: the Python of the interop tests, which is the script's argument.
fn closed() -> anyhow::Result<Vec<std::path::PathBuf>> {
    install::debian("turnserver", &["coturn"])?;
    if !Path::new("/usr/lib/nginx/modules/ngx_stream_module.so").exists() {
        install::debian_package("the module stream of nginx", &["libnginx-mod-stream"])?;
    }
    Ok(vec![install::python()?])
}

fn script(python: &Path, folder: &Path, name: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(name).current_dir(folder).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("AMPHI_PROGRAM", target_dir().join("debug/amphi"));
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", target_dir().join("go-tools").display()));
    command
}

//! The fields for security profiles that v1alpha2 clients fill, and later ones do not.

use k8s_cri::v1alpha2 as old;
use libtest_mimic::Trial;
use tonic::Code;

use crate::harness::trials;
use crate::old_version::{container_config, create, exec, pod_config, run, start, stop_and_remove};

pub(crate) fn tests() -> Vec<Trial> {
    trials![the_old_profile_fields_count]
}

async fn the_old_profile_fields_count() {
    let config = pod_config("profiles").await;
    let pod = run(&config).await;
    let check = async |attempt: u32, profile: &str, expected: &str| {
        let mut container = container_config(&["sleep", "infinity"]);
        container.metadata.as_mut().unwrap().attempt = attempt;
        let context = container
            .linux
            .as_mut()
            .unwrap()
            .security_context
            .as_mut()
            .unwrap();
        set_profiles(context, profile, "");
        let id = create(&pod, &config, container).await.unwrap();
        start(&id).await;
        let ran = exec(&id, &["grep", "Seccomp:", "/proc/1/status"]).await;
        let line = String::from_utf8(ran.stdout).unwrap();
        assert_eq!(line.split_whitespace().nth(1), Some(expected), "{profile}");
    };

    check(0, "runtime/default", "2").await;
    check(1, "docker/default", "2").await;
    check(2, "unconfined", "0").await;
    check(3, "", "0").await;
    let mut wrong = container_config(&["true"]);
    wrong.metadata.as_mut().unwrap().attempt = 4;
    let context = wrong.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    set_profiles(context, "no/such", "");
    let refusal = create(&pod, &config, wrong.clone()).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(refusal.message().contains("seccomp_profile_path"), "{refusal}");
    let context = wrong.linux.as_mut().unwrap().security_context.as_mut().unwrap();
    set_profiles(context, "", "no/such");
    let refusal = create(&pod, &config, wrong).await.unwrap_err();
    assert_eq!(refusal.code(), Code::InvalidArgument, "{refusal}");
    assert!(refusal.message().contains("apparmor_profile"), "{refusal}");
    stop_and_remove(&pod).await;
}

#[allow(deprecated, reason = "older kubelets set only these fields")]
fn set_profiles(context: &mut old::LinuxContainerSecurityContext, seccomp: &str, apparmor: &str) {
    context.seccomp_profile_path = seccomp.to_owned();
    context.apparmor_profile = apparmor.to_owned();
}

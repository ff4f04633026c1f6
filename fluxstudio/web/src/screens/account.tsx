import { useQuery } from "@tanstack/react-query";
import { useRef, useState, type ReactNode } from "react";

import { api, data, Problem } from "../api/client";
import { queries } from "../query";
import { signOut, type Account } from "../session";
import { Field, ProblemNote, useSubmit } from "../ui/form";
import { ago } from "../ui/time";
import { tell, tellProblem } from "../ui/toasts";

type Sudo = <T>(action: () => Promise<T>) => Promise<T>;

/** One's account: profile, devices, password, second step. What concerns security asks for the password first. */
export default function AccountScreen({ account }: { account: Account }) {
  const [dialog, sudo] = useSudo(account.two_step);
  return (
    <section className="settings">
      <h1>Your account</h1>
      <Profile account={account} />
      <Devices sudo={sudo} />
      <Password />
      <Email sudo={sudo} />
      <SecondFactor account={account} sudo={sudo} />
      <Farewell sudo={sudo} />
      {dialog}
    </section>
  );
}

/** Runs what needs a recent sign-in: where the server asks for one, so does a dialog, and then it is run again. */
function useSudo(twoStep: boolean): [ReactNode, Sudo] {
  const dialog = useRef<HTMLDialogElement>(null);
  const waiting = useRef<((confirmed: boolean) => void) | null>(null);
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const code = form.get("code");
    const body = { password: String(form.get("password")), ...(code ? { code: String(code) } : {}) };
    await data(api.POST("/api/me/sudo", { body }));
    waiting.current?.(true);
    waiting.current = null;
    dialog.current?.close();
  });
  const confirm = () =>
    new Promise<boolean>((resolve) => {
      waiting.current = resolve;
      dialog.current?.showModal();
    });
  const sudo: Sudo = async (action) => {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 403 || !(await confirm())) throw error;
      return action();
    }
  };
  const element = (
    <dialog
      ref={dialog}
      aria-label="Confirm that it is you"
      onClose={() => {
        waiting.current?.(false);
        waiting.current = null;
      }}
    >
      <form onSubmit={onSubmit}>
        <h2>Confirm that it is you</h2>
        <Field label="Password" name="password" type="password" autoComplete="current-password" required />
        {twoStep ? <Field label="Code of your app" name="code" autoComplete="one-time-code" required /> : null}
        <ProblemNote problem={problem} />
        <p className="buttons">
          <button type="button" className="quiet" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
          <button type="submit" disabled={busy}>
            Confirm
          </button>
        </p>
      </form>
    </dialog>
  );
  return [element, sudo];
}

function Profile({ account }: { account: Account }) {
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const body = { name: String(form.get("name")), bio: String(form.get("bio")) };
    queries.setQueryData(["me"], await data(api.PATCH("/api/me", { body })));
    tell("Saved.");
  });
  return (
    <form onSubmit={onSubmit} className="part">
      <h2>Profile</h2>
      <p>
        <small>The number of your account is {account.id}: who adds you to a project needs it.</small>
      </p>
      <Field label="Name" name="name" defaultValue={account.name} required maxLength={80} problem={problem} />
      <Field label="About you" name="bio" defaultValue={account.bio} maxLength={2000} problem={problem} />
      <ProblemNote problem={problem} />
      <button type="submit" disabled={busy}>
        Save
      </button>
    </form>
  );
}

function Devices({ sudo }: { sudo: Sudo }) {
  const { data: list } = useQuery({ queryKey: ["devices"], queryFn: () => data(api.GET("/api/me/devices")) });
  const revoke = async (id: string | null) => {
    try {
      await sudo(() =>
        id === null
          ? api.DELETE("/api/me/devices")
          : api.DELETE("/api/me/devices/{device_id}", { params: { path: { device_id: id } } }),
      );
      await queries.invalidateQueries({ queryKey: ["devices"] });
    } catch (error) {
      tellProblem(error);
    }
  };
  return (
    <div className="part">
      <h2>Devices</h2>
      <ul className="rows">
        {list?.devices.map((device) => (
          <li key={device.id}>
            <span>
              <strong>{deviceName(device.user_agent)}</strong>
              <small>
                {device.address} · {device.current ? "this one" : `last seen ${ago(device.last_seen_at)}`}
              </small>
            </span>
            {device.current ? null : (
              <button type="button" className="quiet" onClick={() => void revoke(device.id)}>
                Sign out
              </button>
            )}
          </li>
        ))}
      </ul>
      {(list?.devices.length ?? 0) > 1 ? (
        <button type="button" className="quiet" onClick={() => void revoke(null)}>
          Sign out everywhere else
        </button>
      ) : null}
    </div>
  );
}

function deviceName(agent: string): string {
  const browser = /(Firefox|Edg|Chrome|Safari|curl)/.exec(agent)?.[1] ?? "A program";
  const system = /(Windows|Android|iPhone|iPad|Mac OS X|Linux)/.exec(agent)?.[1];
  return (browser === "Edg" ? "Edge" : browser) + (system ? ` on ${system.replace("Mac OS X", "a Mac")}` : "");
}

function Password() {
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const body = {
      current: String(form.get("current")),
      password: String(form.get("password")),
      sign_out_others: true,
    };
    await data(api.PUT("/api/me/password", { body }));
    tell("The password is changed. Other devices are signed out.");
    await queries.invalidateQueries({ queryKey: ["devices"] });
  });
  return (
    <form onSubmit={onSubmit} className="part">
      <h2>Password</h2>
      <Field label="Current password" name="current" type="password" autoComplete="current-password" required problem={problem} />
      <Field label="New password" name="password" type="password" autoComplete="new-password" required minLength={8} problem={problem} />
      <ProblemNote problem={problem} />
      <button type="submit" disabled={busy}>
        Change it
      </button>
    </form>
  );
}

function Email({ sudo }: { sudo: Sudo }) {
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const body = { email: String(form.get("email")) };
    await sudo(() => data(api.PUT("/api/me/email", { body })));
    tell("Open the link in the mail to your new address.");
  });
  return (
    <form onSubmit={onSubmit} className="part">
      <h2>E-mail</h2>
      <Field label="New address" name="email" type="email" required problem={problem} />
      <ProblemNote problem={problem} />
      <button type="submit" disabled={busy}>
        Change it
      </button>
    </form>
  );
}

function SecondFactor({ account, sudo }: { account: Account; sudo: Sudo }) {
  const [setup, setSetup] = useState<{ secret: string; qr_svg: string } | null>(null);
  const [codes, setCodes] = useState<readonly string[] | null>(null);
  const begin = async () => {
    try {
      setSetup(await sudo(() => data(api.POST("/api/me/totp"))));
    } catch (error) {
      tellProblem(error);
    }
  };
  const remove = async () => {
    try {
      await sudo(() => api.DELETE("/api/me/totp"));
      setCodes(null);
      await queries.invalidateQueries({ queryKey: ["me"] });
    } catch (error) {
      tellProblem(error);
    }
  };
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const body = { code: String(form.get("code")), sign_out_others: false };
    const { codes: fresh } = await data(api.POST("/api/me/totp/confirm", { body }));
    setCodes(fresh);
    setSetup(null);
    await queries.invalidateQueries({ queryKey: ["me"] });
  });
  return (
    <div className="part">
      <h2>Two-step sign-in</h2>
      {codes ? (
        <>
          <p>Keep these recovery codes. Each is good once, in place of the app.</p>
          <pre>{codes.join("\n")}</pre>
        </>
      ) : null}
      {setup ? (
        <form onSubmit={onSubmit}>
          <p>Scan this with an authenticator app, or type {setup.secret} into it.</p>
          <img
            className="qr"
            alt="QR code for an authenticator app"
            src={`data:image/svg+xml;utf8,${encodeURIComponent(setup.qr_svg)}`}
          />
          <Field label="Code of the app" name="code" autoComplete="one-time-code" required autoFocus problem={problem} />
          <ProblemNote problem={problem} />
          <button type="submit" disabled={busy}>
            Turn it on
          </button>
        </form>
      ) : account.two_step ? (
        <button type="button" className="quiet" onClick={() => void remove()}>
          Turn it off
        </button>
      ) : (
        <button type="button" onClick={() => void begin()}>
          Set it up
        </button>
      )}
    </div>
  );
}

function Farewell({ sudo }: { sudo: Sudo }) {
  const leave = async () => {
    if (!window.confirm("Delete your account for ever?")) return;
    try {
      await sudo(() => api.DELETE("/api/me"));
      await signOut();
    } catch (error) {
      tellProblem(error);
    }
  };
  return (
    <div className="part">
      <h2>Leave</h2>
      <button type="button" className="quiet danger" onClick={() => void leave()}>
        Delete the account
      </button>
    </div>
  );
}

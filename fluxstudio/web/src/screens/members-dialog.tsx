/** Who belongs to a project, and who is asked to. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { api, data, Problem, type Schemas } from "../api/client";
import { queries } from "../query";
import { Avatar } from "../ui/avatar";
import { Dialog } from "../ui/dialog";
import { Field, ProblemNote, useSubmit } from "../ui/form";
import { ago } from "../ui/time";
import { attempt, tell } from "../ui/toasts";

type Role = Schemas["Member"]["role"];
const ROLES: readonly Role[] = ["owner", "editor", "viewer"];

interface MembersProps {
  project: number;
  me: number;
  owner: boolean;
  close: () => void;
}

export function Members({ project, me, owner, close }: MembersProps) {
  const { data: list } = useQuery({
    queryKey: ["members", project],
    queryFn: () => data(api.GET("/api/projects/{project_id}/members", { params: { path: { project_id: project } } })),
  });
  const { data: invited } = useQuery({
    queryKey: ["invitations", project],
    queryFn: () => data(api.GET("/api/projects/{project_id}/invitations", { params: { path: { project_id: project } } })),
    enabled: owner,
  });
  const { data: known } = useQuery({
    queryKey: ["people"],
    queryFn: () => data(api.GET("/api/people")),
    enabled: owner,
  });
  const here = new Set(list?.members.map((member) => member.id));
  const others = known?.people.filter((person) => !here.has(person.id)) ?? [];
  const refresh = () =>
    Promise.all([
      queries.invalidateQueries({ queryKey: ["members", project] }),
      queries.invalidateQueries({ queryKey: ["invitations", project] }),
    ]);
  const path = (user: number) => ({ params: { path: { project_id: project, user_id: user } } });
  const setRole = async (user: number, role: Role) => {
    await api.PUT("/api/projects/{project_id}/members/{user_id}", { ...path(user), body: { role } });
    await refresh();
  };
  const remove = async (user: number) => {
    await api.DELETE("/api/projects/{project_id}/members/{user_id}", path(user));
    await refresh();
    if (user === me) close();
  };
  const invite = async (email: string, role: Role) => {
    const params = { path: { project_id: project } };
    await data(api.POST("/api/projects/{project_id}/invitations", { params, body: { email, role } }));
    tell(`An invitation is on its way to ${email}.`);
    await refresh();
  };
  const takeBack = async (invitation: number) => {
    const params = { path: { project_id: project, invitation_id: invitation } };
    await api.DELETE("/api/projects/{project_id}/invitations/{invitation_id}", { params });
    await refresh();
  };
  const [who, setWho] = useState("");
  const { busy, problem, onSubmit } = useSubmit(async (form) => {
    const role = form.get("role") as Role;
    const text = who.trim();
    if (text.includes("@")) {
      await invite(text, role);
    } else {
      const named = others.filter((person) => person.name.toLowerCase() === text.toLowerCase());
      if (named.length !== 1 || !named[0]) {
        const message = named.length > 1 ? "More than one has this name" : "Nobody you share a project with has this name";
        throw new Problem(422, "unknown", `${message}. Invite them by their e-mail address.`);
      }
      await setRole(named[0].id, role);
    }
    setWho("");
  });
  return (
    <Dialog title="Members" close={close}>
      <ul className="rows">
        {list?.members.map((member) => (
          <li key={member.id}>
            <Avatar id={`u${member.id}`} name={member.name} />
            <span className="grow">
              <strong>{member.name}</strong>
              <small>since {ago(member.joined_at)}</small>
            </span>
            {owner ? (
              <select
                aria-label={`Role of ${member.name}`}
                value={member.role}
                onChange={(event) => void attempt(() => setRole(member.id, event.target.value as Role))}
              >
                {ROLES.map((role) => (
                  <option key={role}>{role}</option>
                ))}
              </select>
            ) : (
              <small>{member.role}</small>
            )}
            {owner || member.id === me ? (
              <button type="button" className="quiet danger" onClick={() => void attempt(() => remove(member.id))}>
                {member.id === me ? "Leave" : "Remove"}
              </button>
            ) : null}
          </li>
        ))}
      </ul>
      {invited && invited.invitations.length > 0 ? (
        <>
          <h3>Invited</h3>
          <ul className="rows" aria-label="Invited">
            {invited.invitations.map((one) => (
              <li key={one.id}>
                <span className="grow">
                  <strong>{one.email}</strong>
                  <small>
                    as {one.role}, {ago(one.created_at)}
                  </small>
                </span>
                <button type="button" className="quiet danger" onClick={() => void attempt(() => takeBack(one.id))}>
                  Take back
                </button>
              </li>
            ))}
          </ul>
        </>
      ) : null}
      {owner ? (
        <form onSubmit={onSubmit} className="inline">
          <Field
            label="E-mail, or the name of somebody you share a project with"
            name="email"
            value={who}
            onChange={(event) => setWho(event.target.value)}
            list="people"
            autoComplete="off"
            maxLength={254}
            required
            problem={problem}
          />
          <datalist id="people">
            {others.map((person) => (
              <option key={person.id} value={person.name} />
            ))}
          </datalist>
          <p className="buttons">
            <select name="role" aria-label="Role" defaultValue="editor">
              {ROLES.map((role) => (
                <option key={role}>{role}</option>
              ))}
            </select>
            <button type="submit" disabled={busy}>
              Add
            </button>
          </p>
          <ProblemNote problem={problem} />
        </form>
      ) : null}
    </Dialog>
  );
}

import { lazy, Suspense, useEffect } from "react";
import { Redirect, Route, Switch, useLocation } from "wouter";

import { Projects } from "./screens/projects";
import { ChangeEmail, ForgotPassword, ResetPassword, SignIn, SignUp, VerifyEmail } from "./screens/sign-in";
import { connect, disconnect } from "./realtime/socket";
import { keepOnLeave, useAccount } from "./session";
import { Shell } from "./ui/shell";
import { Toasts } from "./ui/toasts";

const AccountScreen = lazy(() => import("./screens/account"));
const Pulse = lazy(() => import("./pulse/pulse"));
const Project = lazy(() => import("./screens/project"));
const Search = lazy(() => import("./screens/search"));
const Shared = lazy(() => import("./screens/shared"));

/** Where one was, to come back to after signing in. */
export function returnAddress(): string {
  const back = new URLSearchParams(window.location.search).get("back") ?? "/";
  return back.startsWith("/") && !back.startsWith("//") ? back : "/";
}

export function App() {
  return (
    <>
      <Suspense fallback={<div className="waiting" aria-busy="true" />}>
        <Switch>
          <Route path="/sign-in">
            <SignIn />
          </Route>
          <Route path="/sign-up">
            <SignUp />
          </Route>
          <Route path="/verify-email">
            <VerifyEmail />
          </Route>
          <Route path="/forgot-password">
            <ForgotPassword />
          </Route>
          <Route path="/reset-password">
            <ResetPassword />
          </Route>
          <Route path="/change-email">
            <ChangeEmail />
          </Route>
          <Route path="/b">
            <Shared />
          </Route>
          <Route>
            <Members />
          </Route>
        </Switch>
      </Suspense>
      <Toasts />
    </>
  );
}

function Members() {
  const account = useAccount();
  const [location] = useLocation();
  useEffect(() => (account ? keepOnLeave(account) : undefined), [account]);
  const user = account?.id;
  useEffect(() => {
    if (user === undefined) return undefined;
    connect();
    return disconnect;
  }, [user]);
  if (account === undefined) return <div className="waiting" aria-busy="true" />;
  if (account === null) {
    const back = location === "/" ? "" : `?back=${encodeURIComponent(location + window.location.search)}`;
    return <Redirect to={`/sign-in${back}`} replace />;
  }
  return (
    <Shell account={account}>
      <Suspense fallback={<div className="waiting" aria-busy="true" />}>
        <Switch>
          <Route path="/">
            <Projects />
          </Route>
          <Route path="/account">
            <AccountScreen account={account} />
          </Route>
          <Route path="/pulse">
            <Pulse />
          </Route>
          <Route path="/projects/:project">{({ project }) => <Project account={account} project={Number(project)} board={null} />}</Route>
          <Route path="/projects/:project/boards/:board">
            {({ project, board }) => <Project account={account} project={Number(project)} board={Number(board)} />}
          </Route>
          <Route>
            <section className="empty">
              <h1>There is nothing here</h1>
              <p>
                <a href="/">Back to your projects</a>
              </p>
            </section>
          </Route>
        </Switch>
        <Search />
      </Suspense>
    </Shell>
  );
}

"""Calls of names in the standard library that start a program, run code, find another name, or reach files and hosts."""

from .case import CMD, P4, Case, apply, call, call_old, stack_global, u

# module:name, then the arguments, if another than the command is natural
EXEC = """os:system posix:system nt:system os:popen os:execvp os:spawnlp subprocess:Popen subprocess:run subprocess:getoutput subprocess:check_output
pty:spawn builtins:eval builtins:exec builtins:compile runpy:run_path runpy:_run_code code:interact code:InteractiveInterpreter.runcode timeit:timeit
timeit:main cProfile:run profile:run pdb:run bdb:Bdb.run trace:Trace.run doctest:debug_script idlelib.run:Executive.runcode
idlelib.pyshell:ModifiedInterpreter.runcommand idlelib.debugobj:ObjectTreeItem.SetText idlelib.calltip:get_entity idlelib.autocomplete:AutoComplete.get_entity
lib2to3.pgen2.grammar:Grammar.loads lib2to3.pgen2.pgen:ParserGenerator pip:main pip._internal:main ensurepip:_run_pip uuid:_get_command_stdout
_osx_support:_read_output _aix_support:_read_cmd_output imaplib:IMAP4_stream multiprocessing.util:spawnv_passfds _posixsubprocess:fork_exec
distutils.spawn:spawn distutils.file_util:write_file _xxsubinterpreters:run_string _interpreters:run_string commands:getoutput popen2:popen3
asyncio:create_subprocess_shell asyncio.unix_events:_UnixSubprocessTransport._start concurrent.futures.process:_process_worker venv:create
webbrowser:open test.support:run_code test.support.script_helper:assert_python_ok cgi:test platform:popen ctypes:CDLL ctypes:PyDLL
ctypes.util:_findLib_gcc pydoc:pipepager pydoc:tempfilepager mailcap:findmatch smtpd:Process pyrepl:pager site:execsitecustomize turtledemo:main""".split()
FILENET = """io:open builtins:open _io:FileIO codecs:open pathlib:Path.write_text pathlib:Path.unlink logging:FileHandler logging.handlers:SocketHandler
os:remove os:rename os:symlink os:putenv shutil:rmtree shutil:copyfile tempfile:NamedTemporaryFile tempfile:mktemp sqlite3:connect dbm:open shelve:open mmap:mmap
linecache:getlines fileinput:input ssl:get_server_certificate urllib.request:urlopen urllib.request:urlretrieve urllib2:urlopen
socket:create_connection http.client:HTTPConnection http.client:HTTPSConnection ftplib:FTP smtplib:SMTP telnetlib:Telnet xmlrpc.client:ServerProxy
multiprocessing.connection:Client zipfile:ZipFile tarfile:open""".split()
RESOLVE = """pkgutil:resolve_name pydoc:locate pydoc:safeimport importlib:import_module importlib:reload logging.config:_resolve
logging.config:BaseConfigurator.resolve zipimport:zipimporter builtins:__import__ imp:load_source imp:load_dynamic importlib.machinery:SourceFileLoader
importlib.util:spec_from_file_location importlib._bootstrap:_gcd_import unittest.mock:_importer unittest.mock:_get_target unittest.loader:TestLoader.loadTestsFromName
builtins:getattr builtins:globals builtins:vars operator:attrgetter operator:methodcaller inspect:getmodule sys:_getframe gc:get_objects""".split()


def rows(family: str, names: list[str], argument: str) -> list[Case]:
    made = []
    for at, text in enumerate(names):
        module, _, name = text.partition(":")
        raw = call_old(module, name, argument) if at % 3 == 2 and "." not in name else call(module, name, argument)
        made.append(Case(family, text, f"{text.replace(':', '.')}.pkl", raw))
    return made


PARTIAL = apply("functools", "partial", stack_global("os", "system"), CMD)
DEFERRED = {
    "partial": P4 + PARTIAL + b".",
    "partial-called": P4 + PARTIAL + b")R.",
    "map": call("builtins", "map", stack_global("os", "system"), b"]" + u(CMD) + b"a"),
    "filter": call("builtins", "filter", stack_global("os", "system"), b"]" + u(CMD) + b"a"),
    "defaultdict": call("collections", "defaultdict", stack_global("os", "getcwd")),
    "atexit": call("atexit", "register", stack_global("os", "system"), CMD),
    "weakref-finalize": call(
        "weakref", "finalize", stack_global("collections", "OrderedDict"), stack_global("os", "system"), CMD
    ),
    "sorted-key": call("builtins", "sorted", b"]" + u(CMD) + b"a", stack_global("os", "system")),
    "reduce": call("functools", "reduce", stack_global("os", "system"), b"]" + u(CMD) + b"a"),
    "threading-timer": call("threading", "Timer", b"K\x01", stack_global("os", "system")),
}


def cases() -> list[Case]:
    chain = P4 + apply("pkgutil", "resolve_name", "os:system") + u(CMD) + b"\x85R."
    getter = P4 + apply("builtins", "getattr", apply("importlib", "import_module", "os"), "system") + u(CMD) + b"\x85R."
    return [
        *rows("gadget-stdlib-exec", EXEC, CMD),
        *[Case("gadget-stdlib-exec", f"deferred-{n}", f"deferred-{n}.pkl", d) for n, d in DEFERRED.items()],
        *rows("gadget-stdlib-filenet", FILENET, "/nonexistent/never"),
        *rows("gadget-stdlib-resolve", RESOLVE, "none"),
        Case("gadget-stdlib-resolve", "resolved-and-called", "resolved.pkl", chain),
        Case("gadget-stdlib-resolve", "imported-and-called", "imported.pkl", getter),
    ]
